use super::*;

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
    let slab = Arc::new(BufferSlab::new(16 * BUFFER_ALIGN_BYTES));
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
    let slab = Arc::new(BufferSlab::new(200 * BUFFER_ALIGN_BYTES));
    let mut singles: Vec<_> = (0..200).map(|_| slab.alloc(1).unwrap()).collect();
    assert!(slab.alloc(1).is_none());
    singles.drain(130..133);
    assert!(slab.alloc(4 * BUFFER_ALIGN_BYTES).is_none());
    assert!(slab.alloc(3 * BUFFER_ALIGN_BYTES).is_some());
}

#[test]
fn slab_buffer_may_be_dropped_on_another_thread() {
    let slab = Arc::new(BufferSlab::new(BUFFER_ALIGN_BYTES));
    let buf = slab.alloc(10).unwrap();
    assert!(slab.alloc(10).is_none());
    std::thread::spawn(move || drop(buf)).join().unwrap();
    assert!(slab.alloc(10).is_some());
}

#[test]
fn buffer_counts_as_registered_only_in_its_own_slab_and_range() {
    let slab = Arc::new(BufferSlab::new(4 * BUFFER_ALIGN_BYTES));
    let other = Arc::new(BufferSlab::new(4 * BUFFER_ALIGN_BYTES));
    slab.set_registered_bytes(2 * BUFFER_ALIGN_BYTES);
    other.set_registered_bytes(4 * BUFFER_ALIGN_BYTES);
    let first = slab.alloc(2 * BUFFER_ALIGN_BYTES).unwrap();
    let second = slab.alloc(BUFFER_ALIGN_BYTES).unwrap();
    assert!(first.is_registered_in(&slab));
    assert!(!second.is_registered_in(&slab));
    assert!(!first.is_registered_in(&other));
    assert!(!DmaBuf::zeroed(1).is_registered_in(&slab));
}
