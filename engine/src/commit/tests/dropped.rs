//! When the pages of a dropped keyspace's tablets may be given back.

use std::rc::Rc;

use super::world::{SHARD, add_tablet, with_core};
use super::*;
use crate::commit::Core;
use crate::format::root_table::RowKey;
use crate::ids::TabletId;
use crate::volume::RowChange;
use crate::volume::tests::world::tablet_row;

/// Two tablets with rows, as after a publication.
async fn published(core: &Core) -> [TabletId; 2] {
    let rows = [0, 1].map(|index| RowChange::Put(tablet_row(index, 8)));
    core.store.roots.publish(&core.shard, &core.store.volume, &rows).await.unwrap();
    [0, 1].map(|index| {
        let mut of = writes(&["a"]);
        of[0].tablet.index = index;
        add_tablet(core, &of)
    })
}

fn free(core: &Core) -> Vec<u32> {
    let roots = &core.store.roots;
    core.with_dropped(|dropped| {
        let free = dropped.iter().filter(|tablet| tablet.is_free(roots));
        free.map(|tablet| tablet.id().index).collect::<Vec<_>>()
    })
}

#[test]
fn dropped_tablet_is_free_when_its_own_row_is_gone_and_not_with_anothers() {
    with_core(|core| async move {
        let tablets = published(&core).await;
        tablets.iter().for_each(|&tablet| core.remove_tablet(tablet));
        assert_eq!(free(&core), [0; 0], "their rows are in force");
        let gone = RowChange::Remove(RowKey::Tablet(tablets[0]));
        let (roots, volume) = (&core.store.roots, &core.store.volume);
        let written = roots.publish(&core.shard, volume, &[gone]).await.unwrap();
        assert!(core.store.merge_signal(SHARD).try_consume(), "for the dropping itself");
        core.note_unpublished(&[(tablets[0], written[0])]);
        assert!(core.store.merge_signal(SHARD).try_consume(), "to look what it may give back");
        assert_eq!(free(&core), [0], "the other's row may be needed again");
    });
}

#[test]
fn dropped_tablet_is_not_free_while_a_reader_or_a_merge_has_its_pages() {
    with_core(|core| async move {
        let tablet = add_tablet(&core, &writes(&["a"]));
        let held = |core: &Core| {
            let root = core.with_tablet(tablet, |tablet| Rc::clone(tablet.tree.current()));
            let pages = core.with_tablet(tablet, |tablet| Rc::clone(&tablet.tree.allocator));
            (root.unwrap(), pages.unwrap())
        };
        let (root, pages) = held(&core);
        pages.borrow_mut().add_extents(&[9, 12]);
        core.remove_tablet(tablet);
        assert_eq!(free(&core), [0; 0]);
        drop(pages);
        assert_eq!(free(&core), [0; 0], "it is read");
        drop(root);
        assert_eq!(free(&core), [0], "it was never published");
        let dropped = core.with_dropped(std::mem::take).remove(0);
        assert_eq!((dropped.extent_count(), dropped.into_extents()), (2, vec![9, 12]));
        add_tablet(&core, &writes(&["a"]));
        let (root, pages) = held(&core);
        core.remove_tablet(tablet);
        drop(root);
        assert_eq!(free(&core), [0; 0], "it is being merged");
        drop(pages);
        assert_eq!(free(&core), [0]);
    });
}
