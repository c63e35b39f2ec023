//! Trees and space maps: a few pages under one root, then on at the next key under whatever root
//! is in force by then. So no root is held for long, and no merge waits.

use std::rc::Rc;

use sombra_runtime::IoClass;

use super::{ScrubPass, Stopped};
use crate::btree::TreeRoot;
use crate::check::{ProblemPlace, ProblemTablet, TreeWalk, WalkPart, WalkedTablet, problem};
use crate::commit::Core;
use crate::format::page::PageOwner;
use crate::format::root_table::TabletSpace;
use crate::ids::TabletId;
use crate::keyspace::Keyspace;
use crate::limits;
use crate::tablet::RootHandle;

/// Reads one tablet's space map and tree. A tablet that is dropped meanwhile is left alone.
pub(crate) async fn scrub_tablet(
    pass: &mut ScrubPass<'_>,
    core: &Core,
    (keyspace, id): (&Keyspace, TabletId),
) -> Result<(), Stopped> {
    let name = ProblemTablet { keyspace: keyspace.name().to_owned(), id };
    let tablet = WalkedTablet::new(name, Some(keyspace.routing()));
    if let Some((root, Some(space))) = hold_root(core, id) {
        scrub_map(pass, &tablet, &space).await;
        let_go(core, id, root);
        pass.pace().await?;
    }
    let mut from = None;
    loop {
        let Some((handle, _)) = hold_root(core, id) else { return Ok(()) };
        let Some(root) = handle.root else { return Ok(()) };
        from = scrub_part(pass, &tablet, (root, from)).await;
        let_go(core, id, handle);
        pass.pace().await?;
        if from.is_none() {
            return Ok(());
        }
    }
}

/// The root in force and its space map: neither's pages are written over while it is held.
fn hold_root(core: &Core, id: TabletId) -> Option<(Rc<RootHandle>, Option<TabletSpace>)> {
    core.with_tablet(id, |tablet| (Rc::clone(tablet.tree.current()), tablet.tree.space))
}

/// What waited for the root alone may be released: somebody must look.
fn let_go(core: &Core, id: TabletId, root: Rc<RootHandle>) {
    drop(root);
    let is_awaited = core.with_tablet(id, |tablet| tablet.tree.has_obsolete());
    // A tablet that was dropped waits for its readers, too.
    if is_awaited.unwrap_or(true) {
        core.store.merge_signal(core.shard.id()).raise();
    }
}

async fn scrub_map(pass: &mut ScrubPass<'_>, tablet: &WalkedTablet, space: &TabletSpace) {
    let volume = &pass.store.volume;
    let owner = PageOwner { store_id: volume.store_id(), tablet: tablet.name.id };
    let class = IoClass::Maintenance;
    let read = volume.read_space_map_as(pass.shard, owner, (space, class)).await;
    let page_size_bytes = volume.page_size_bytes();
    if let Err(error) = read {
        let place = ProblemPlace::page(volume.path(), space.map.addr, page_size_bytes);
        let found = problem(place, "the space map that its root names", error);
        pass.note_problem(&found.of(&tablet.name));
    }
    let pages = u64::from(space.map_pages);
    pass.note_read(pages, pages * page_size_bytes as u64);
}

async fn scrub_part(
    pass: &mut ScrubPass<'_>,
    tablet: &WalkedTablet,
    (root, from): (TreeRoot, Option<Vec<u8>>),
) -> Option<Vec<u8>> {
    let volume = &pass.store.volume;
    let mut walk = TreeWalk::new(pass.shard, volume, tablet);
    let part = WalkPart { from, pages_max: limits::SCRUB_PART_PAGES };
    let next = walk.walk_part(root, part).await;
    let pages = walk.pages.len() as u64;
    for found in std::mem::take(&mut walk.problems) {
        pass.note_problem(&found);
    }
    pass.note_read(pages, pages * volume.page_size_bytes() as u64);
    next
}
