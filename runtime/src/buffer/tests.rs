use super::*;
use crate::limits::{BUFFER_POOL_BYTES_MAX, POOL_SEGMENT_BYTES_MIN, POOL_SEGMENTS_MAX};
use crate::port::ShardPort;

#[test]
fn heap_buffer_is_aligned_and_zeroed() {
    for len in [0, 1, 4095, 4096, 4097, 1 << 20] {
        let buf = DmaBuf::zeroed(len);
        assert_eq!(buf.len(), len);
        assert_eq!(buf.as_ptr() as usize % BUFFER_ALIGN_BYTES, 0);
        assert!(buf.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn slab_buffers_never_overlap_and_are_zeroed_when_reused() {
    let slab = Arc::new(BufferSlab::unregistered(16 * BUFFER_ALIGN_BYTES).unwrap());
    let mut buffers = Vec::new();
    while let Some(mut buf) = slab.alloc(BUFFER_ALIGN_BYTES) {
        assert!(buf.iter().all(|byte| *byte == 0));
        buf.fill(buffers.len() as u8 + 1);
        buffers.push(buf);
    }
    assert_eq!(buffers.len(), 16);
    for (index, buf) in buffers.iter().enumerate() {
        assert!(buf.iter().all(|byte| *byte == index as u8 + 1));
    }
    buffers.clear();
    let whole = slab.alloc(16 * BUFFER_ALIGN_BYTES).expect("all chunks are free again");
    assert!(whole.iter().all(|byte| *byte == 0));
    assert!(slab.alloc(1).is_none());
}

#[test]
fn slab_finds_a_run_between_taken_chunks() {
    let slab = Arc::new(BufferSlab::unregistered(200 * BUFFER_ALIGN_BYTES).unwrap());
    let mut singles: Vec<_> = (0..200).map(|_| slab.alloc(1).unwrap()).collect();
    assert!(slab.alloc(1).is_none());
    singles.drain(130..133);
    assert!(slab.alloc(4 * BUFFER_ALIGN_BYTES).is_none());
    assert!(slab.alloc(3 * BUFFER_ALIGN_BYTES).is_some());
}

#[test]
fn slab_buffer_may_be_dropped_on_another_thread() {
    let slab = Arc::new(BufferSlab::unregistered(BUFFER_ALIGN_BYTES).unwrap());
    let buf = slab.alloc(10).unwrap();
    assert!(slab.alloc(10).is_none());
    std::thread::spawn(move || drop(buf)).join().unwrap();
    assert!(slab.alloc(10).is_some());
}

#[test]
fn buffer_for_a_read_keeps_old_bytes_and_a_zeroed_one_does_not() {
    let slab = Arc::new(BufferSlab::unregistered(BUFFER_ALIGN_BYTES).unwrap());
    let mut buf = slab.alloc_for_read(100).unwrap();
    assert!(buf.iter().all(|byte| *byte == 0), "memory of a new slab is zero");
    buf.fill(7);
    drop(buf);
    let buf = slab.alloc_for_read(BUFFER_ALIGN_BYTES).unwrap();
    assert!(buf[..100].iter().all(|byte| *byte == 7) && buf[100..].iter().all(|byte| *byte == 0));
    drop(buf);
    assert!(slab.alloc(BUFFER_ALIGN_BYTES).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn buffer_is_in_a_segment_only_if_it_lies_in_one_alone() {
    let memory = Arc::new(Mapping::new(4 * BUFFER_ALIGN_BYTES).unwrap());
    let known = Some((5, 2 * BUFFER_ALIGN_BYTES));
    let slab = Arc::new(BufferSlab::with_registered_start(memory, known));
    let [first, across, last] =
        [1, 2, 1].map(|chunks| slab.alloc(chunks * BUFFER_ALIGN_BYTES).unwrap());
    assert_eq!(first.segment().map(|(_, segment)| segment), Some(0));
    assert!(across.segment().is_none());
    assert_eq!(last.segment().map(|(_, segment)| segment), Some(1));
    assert_eq!((slab.place(0), slab.place(1)), (Place::At(5), Place::Refused));
    assert!(DmaBuf::zeroed(1).segment().is_none());
}

#[test]
fn segments_of_a_pool_cover_it_and_stay_few() {
    let port = Arc::new(ShardPort::new(None));
    let huge = 5 * POOL_SEGMENTS_MAX * POOL_SEGMENT_BYTES_MIN + BUFFER_ALIGN_BYTES;
    for len in [BUFFER_ALIGN_BYTES, 3 << 20, huge] {
        let slab = BufferSlab::registered_on_use(len, Arc::clone(&port)).unwrap();
        let mut end = 0;
        let mut segments = 0;
        while end < len {
            let (from, part) = slab.segment_range(segments);
            assert!(from == end && part > 0 && slab.place(segments) == Place::Untried);
            end += part;
            segments += 1;
        }
        assert!(end == len && segments <= POOL_SEGMENTS_MAX);
        assert_eq!(slab.place(segments), Place::Refused);
    }
}

#[test]
fn pool_beyond_its_limit_is_an_error() {
    assert!(BufferPool::new(BUFFER_POOL_BYTES_MAX + 1, None).is_err());
    assert!(Mapping::new(usize::MAX).is_err());
}
