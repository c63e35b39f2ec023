use super::*;
use crate::buffer::BufferPool;
use crate::limits::POOL_SEGMENT_BYTES_MIN;
use crate::port::Control;

fn port() -> Arc<ShardPort> {
    Arc::new(ShardPort::new(None))
}

fn table(port: &Arc<ShardPort>, memlock_bytes: usize) -> (Ring, BufferTable) {
    let mut ring = Ring::new(8).unwrap();
    let table = BufferTable::new(Arc::clone(port), &mut ring, memlock_bytes);
    assert!(table.missing.is_none());
    (ring, table)
}

fn pool(port: &Arc<ShardPort>, segments: usize) -> BufferPool {
    BufferPool::new(segments * POOL_SEGMENT_BYTES_MIN, Some(port)).unwrap()
}

fn released(port: &ShardPort) -> Option<Vec<u16>> {
    match port.pop_control()? {
        Control::ReleaseBuffers { places } => Some(places),
        _ => panic!("a slab asks for nothing else"),
    }
}

#[test]
fn segment_enters_at_its_first_use_and_keeps_its_place() {
    let port = port();
    let (mut ring, mut table) = table(&port, usize::MAX);
    let pool = pool(&port, 2);
    let first = pool.alloc(POOL_SEGMENT_BYTES_MIN).unwrap();
    let second = pool.alloc(4096).unwrap();
    assert_eq!(pool.registered_bytes(), 0);
    let place = table.place_of(&first, &mut ring).unwrap();
    assert_eq!(pool.registered_bytes(), POOL_SEGMENT_BYTES_MIN);
    assert_eq!(table.place_of(&first, &mut ring), Some(place));
    assert_ne!(table.place_of(&second, &mut ring).unwrap(), place);
    assert_eq!(pool.registered_bytes(), 2 * POOL_SEGMENT_BYTES_MIN);
    assert!(table.take_refusal().is_none());
}

#[test]
fn places_of_a_pool_are_given_back_when_its_last_buffer_is_gone() {
    let port = port();
    let (mut ring, mut table) = table(&port, usize::MAX);
    let free = table.free.len();
    let pool = pool(&port, 1);
    let buf = pool.alloc(4096).unwrap();
    let place = table.place_of(&buf, &mut ring).unwrap();
    let memory = Arc::downgrade(pool.slab().memory());
    drop(pool);
    assert!(released(&port).is_none(), "INV-8: a buffer is still out");
    std::thread::spawn(move || drop(buf)).join().unwrap();
    let places = released(&port).unwrap();
    assert_eq!(places, [place]);
    assert!(memory.upgrade().is_some(), "INV-8: the kernel still knows the memory");
    table.release(&places, &mut ring);
    assert!(memory.upgrade().is_none());
    assert_eq!((table.free.len(), table.registered_bytes), (free, 0));
}

#[test]
fn memory_lock_limit_refuses_the_rest_of_a_pool_and_tells_once() {
    let port = port();
    let (mut ring, mut table) = table(&port, POOL_SEGMENT_BYTES_MIN);
    let pool = pool(&port, 3);
    let buffers = [0; 3].map(|_| pool.alloc(POOL_SEGMENT_BYTES_MIN).unwrap());
    assert!(table.place_of(&buffers[0], &mut ring).is_some());
    assert!(table.place_of(&buffers[1], &mut ring).is_none());
    let refusal = table.take_refusal().unwrap();
    assert!(refusal.contains("RLIMIT_MEMLOCK"), "{refusal}");
    assert!(table.place_of(&buffers[2], &mut ring).is_none());
    assert!(table.take_refusal().is_none());
    assert_eq!(pool.registered_bytes(), POOL_SEGMENT_BYTES_MIN);
}

#[test]
fn full_table_refuses_and_says_so() {
    let port = port();
    let (mut ring, mut table) = table(&port, usize::MAX);
    table.free.clear();
    let pool = pool(&port, 1);
    assert!(table.place_of(&pool.alloc(1).unwrap(), &mut ring).is_none());
    assert!(table.take_refusal().unwrap().contains("places are taken"));
}

#[test]
fn buffer_of_another_shard_has_no_place_and_is_not_registered() {
    let (here, there) = (port(), port());
    let (mut ring, mut table) = table(&here, usize::MAX);
    let foreign = pool(&there, 1);
    let buf = foreign.alloc(1).unwrap();
    assert!(table.place_of(&buf, &mut ring).is_none());
    // Known over there under a number that means other memory here.
    let own = pool(&here, 1);
    let place = table.place_of(&own.alloc(1).unwrap(), &mut ring).unwrap();
    foreign.slab().set_place(0, Place::At(place));
    assert!(table.place_of(&buf, &mut ring).is_none());
    foreign.slab().set_place(0, Place::Untried);
}

#[test]
fn start_of_a_slab_is_registered_as_far_as_the_limit_allows() {
    let port = port();
    let (mut ring, mut table) = table(&port, 1 << 20);
    let memory = Arc::new(Mapping::new(4 << 20).unwrap());
    let (place, bytes) = table.register_start(&memory, &mut ring).unwrap();
    assert_eq!(bytes, 1 << 20);
    let slab = Arc::new(BufferSlab::with_registered_start(memory, Some((place, bytes))));
    let [known, unknown] = [1 << 20, 4096].map(|len| slab.alloc(len).unwrap());
    assert_eq!(table.place_of(&known, &mut ring), Some(place));
    assert!(table.place_of(&unknown, &mut ring).is_none());
    assert!(table.place_of(&DmaBuf::zeroed(1), &mut ring).is_none());
}
