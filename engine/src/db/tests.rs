use super::open::lower_memory;
use crate::limits;
use crate::options::Options;

#[test]
fn memory_budget_is_lowered_to_what_the_control_group_leaves_and_refused_below_the_least() {
    let of = |limit: Option<u64>| {
        let mut options = Options { memory_bytes: 1 << 30, ..Options::default() };
        let said = lower_memory(&mut options, limit).map_err(|error| error.to_string());
        (options.memory_bytes, said)
    };
    assert_eq!(of(None), (1 << 30, Ok(None)));
    assert_eq!(of(Some(2 << 30)), (1 << 30, Ok(None)));
    let (lowered, said) = of(Some(400_000_000));
    assert_eq!(lowered, 300_000_000);
    let said = said.unwrap().expect("the operator is told");
    assert!(said.contains("1073741824") && said.contains("400000000"), "{said}");
    let (_, refused) = of(Some(limits::MEMORY_BYTES_MIN));
    let refused = refused.expect_err("three quarters of it are too little");
    assert!(refused.contains("memory_bytes") && refused.contains("16777216"), "{refused}");
}
