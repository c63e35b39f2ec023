//! Where a log goes on that was ended before its damage, and what is kept of the rest.

use super::world::{Keys, Log, SEGMENT_BYTES, block_lsn, link, one_each, segment_path, store_dir};
use crate::format::BLOCK_SIZE_BYTES;
use crate::format::segment::segment_file_name;
use crate::format::superblock::{SUPERBLOCK_COPY_BYTES, Superblock};
use crate::ids::Lsn;
use crate::limits::REPAIR_SEGMENTS_SKIPPED;
use crate::recovery::replay::RootMarks;
use crate::recovery::{cut_log, look_at_log};
use crate::volume::tests::world::run;

/// A log of which the second of three blocks is gone.
fn damaged() -> Log {
    let log = Log::new(vec![link(1, Lsn::ZERO, 1)]);
    let mut blocks = one_each(1, 1, &["a", "b", "c"]);
    let last = super::world::header(1, block_lsn(1, 2));
    blocks[2] = super::world::blocks(&super::world::commit("c", 10), &[0], last).remove(0);
    blocks[1].fill(0);
    log.segment(1, 1, &blocks);
    let mut copy = log.superblock.encode();
    copy.resize(SUPERBLOCK_COPY_BYTES, 0);
    log.disk.write_file(store_dir().join("superblock"), &[&copy[..], &copy].concat());
    log.disk.create_dir(store_dir().join("keep"));
    log
}

fn cut(log: &Log) {
    let superblock = log.superblock.clone();
    run(3, &log.disk, |shard| async move {
        let (marks, mut sink) = (RootMarks::NONE, Keys::default());
        let seen = (&superblock, marks);
        let found = look_at_log(&shard, store_dir(), seen, &mut sink).await.unwrap();
        let damage = found.damage.as_ref().expect("a block is gone");
        assert_eq!(damage.end, block_lsn(1, 1));
        let surveyed = found.survey(&shard, &superblock, Some(damage.end), &mut sink).await;
        let (surveyed, keep) = (surveyed.unwrap(), store_dir().join("keep"));
        let what = (&found, damage, marks);
        cut_log(&shard, store_dir(), what, &surveyed, &keep).await.unwrap();
    });
}

#[test]
fn log_goes_on_far_above_every_segment_that_may_have_been() {
    let log = damaged();
    cut(&log);
    let number = 1 + REPAIR_SEGMENTS_SKIPPED + 1;
    assert_eq!(log.len_bytes(number), Some(SEGMENT_BYTES as usize));
    let written = log.disk.read_file(store_dir().join("superblock")).unwrap();
    let written = Superblock::decode(&written).unwrap();
    assert_eq!(written.generation, log.superblock.generation + 1);
    assert_eq!(written.links, [link(1, Lsn::ZERO, 1), link(2, block_lsn(1, 1), number)]);
}

#[test]
fn segment_of_any_length_is_kept_byte_for_byte() {
    for len_bytes in [3 * BLOCK_SIZE_BYTES + 700, 256 << 10, (256 << 10) + 8] {
        let log = damaged();
        log.set_len(1, len_bytes);
        let before = log.disk.read_file(segment_path(1)).unwrap();
        cut(&log);
        let kept = log.disk.read_file(store_dir().join("keep").join(segment_file_name(1)));
        assert!(kept.is_some_and(|kept| kept == before), "{len_bytes} bytes");
    }
}

#[test]
fn bytes_behind_the_length_of_a_damaged_segment_are_none_of_its_log() {
    let log = damaged();
    let mut bytes = log.disk.read_file(segment_path(1)).unwrap();
    bytes.extend(one_each(1, 2, &["behind"]).concat());
    log.disk.write_file(segment_path(1), &bytes);
    let superblock = log.superblock.clone();
    let keys = run(3, &log.disk, |shard| async move {
        let (seen, mut sink) = ((&superblock, RootMarks::NONE), Keys::default());
        let found = look_at_log(&shard, store_dir(), seen, &mut sink).await.unwrap();
        found.survey(&shard, &superblock, Some(block_lsn(1, 1)), &mut sink).await.unwrap();
        sink.0
    });
    assert_eq!(keys, [b"a", b"c"]);
}
