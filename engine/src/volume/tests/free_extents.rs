use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::volume::free_extents::FreeExtents;

#[derive(Clone, Debug)]
enum Step {
    GiveBack(u32),
    Remove(u32),
    TakeLowest(u32),
    TakeNeighbours(u32),
    TakeTail(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (8_u32..64).prop_map(Step::GiveBack),
        1 => (0_u32..70).prop_map(Step::Remove),
        1 => (0_u32..6).prop_map(Step::TakeLowest),
        1 => (1_u32..6).prop_map(Step::TakeNeighbours),
        1 => (0_u32..6).prop_map(Step::TakeTail),
    ]
}

fn first_neighbours(model: &BTreeSet<u32>, count: u32) -> Option<Vec<u32>> {
    let is_run = |&start: &u32| (start..start + count).all(|extent| model.contains(&extent));
    model.iter().copied().find(is_run).map(|start| (start..start + count).collect())
}

proptest! {
    #[test]
    fn free_extents_are_a_set_of_extents(steps in prop::collection::vec(any_step(), 1..200)) {
        let mut free = FreeExtents::default();
        free.insert(8..64);
        let mut model: BTreeSet<u32> = (8..64).collect();
        for step in steps {
            match step {
                Step::GiveBack(extent) => {
                    if model.insert(extent) {
                        free.insert(extent..extent + 1);
                    }
                }
                Step::Remove(extent) => {
                    prop_assert_eq!(free.remove(extent), model.remove(&extent));
                }
                Step::TakeLowest(count) => {
                    let expected: Vec<u32> = model.iter().copied().take(count as usize).collect();
                    let expected = (expected.len() == count as usize).then_some(expected);
                    model.retain(|extent| !expected.iter().flatten().any(|taken| taken == extent));
                    prop_assert_eq!(free.take_lowest(count), expected);
                }
                Step::TakeNeighbours(count) => {
                    let expected = first_neighbours(&model, count);
                    prop_assert_eq!(free.has_neighbours(count), expected.is_some());
                    model.retain(|extent| !expected.iter().flatten().any(|taken| taken == extent));
                    prop_assert_eq!(free.take_neighbours(count), expected);
                }
                Step::TakeTail(most) => {
                    let run = (0..most).take_while(|back| model.contains(&(63 - back))).count();
                    let first = 64 - run as u32;
                    model.retain(|&extent| extent < first);
                    prop_assert_eq!(free.take_tail(64, most), first);
                }
            }
            prop_assert_eq!(free.count() as usize, model.len());
        }
        let mut expected = FreeExtents::default();
        model.iter().for_each(|&extent| expected.insert(extent..extent + 1));
        prop_assert_eq!(free, expected, "neighbours are one run, whatever the order");
    }
}

#[test]
#[should_panic(expected = "INV-5")]
fn extent_is_given_back_once() {
    let mut free = FreeExtents::default();
    free.insert(8..12);
    free.insert(11..12);
}
