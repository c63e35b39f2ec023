use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::buffer::BufferSlab;
use crate::driver::OpValue;
use crate::file::{DirectAlignment, DmaFile};
use crate::runtime::Runtime;
use crate::time::Clock;

const NOW: Moment = Moment::START;

fn exists() -> Op {
    Op::Exists { path: PathBuf::from("x") }
}

fn unit() -> OpDone {
    OpDone { result: Ok(OpValue::Unit), buf: None }
}

fn read_into(slab: &Arc<BufferSlab>) -> Op {
    let runtime = Runtime::assemble(Clock::real(), Vec::new(), None, None);
    let file = std::fs::File::open("/dev/null").unwrap();
    let file = DmaFile::real(file, "/dev/null".into(), DirectAlignment::Buffered, &runtime);
    let buf = slab.alloc(4096).unwrap();
    Op::Read { file, offset: 0, buf, from: 0, len: 4096 }
}

#[test]
fn slab_gives_every_use_of_a_slot_its_own_key() {
    let mut slab = OpSlab::new();
    let mut cx = Context::from_waker(Waker::noop());
    let first = slab.try_insert(exists(), IoClass::Log, NOW).ok().unwrap();
    assert!(slab.poll(first, &mut cx).is_pending());
    slab.complete(first, unit(), NOW, &mut Vec::new());
    assert!(slab.poll(first, &mut cx).is_ready());
    let second = slab.try_insert(exists(), IoClass::Log, NOW).ok().unwrap();
    assert_ne!(first, second);
    assert_eq!(OpKey::from_user_data(second.to_user_data()), second);
}

#[test]
#[should_panic(expected = "INV-8")]
fn slab_refuses_a_second_completion_of_an_operation() {
    let mut slab = OpSlab::new();
    let key = slab.try_insert(exists(), IoClass::Log, NOW).ok().unwrap();
    slab.complete(key, unit(), NOW, &mut Vec::new());
    slab.complete(key, unit(), NOW, &mut Vec::new());
}

#[test]
fn slab_keeps_an_orphans_buffer_until_its_completion() {
    let buffers = Arc::new(BufferSlab::unregistered(4096).unwrap());
    let mut slab = OpSlab::new();
    let key = slab.try_insert(read_into(&buffers), IoClass::Read, NOW).ok().unwrap();
    assert!(slab.orphan(key).is_none());
    assert!(buffers.alloc(1).is_none(), "INV-8");
    let op = slab.take_op(key);
    let done = OpDone::failed(op, io::ErrorKind::Other.into());
    slab.complete(key, done, NOW, &mut Vec::new());
    assert_eq!(slab.in_flight(), 0);
    drop(slab.take_orphans());
    assert!(buffers.alloc(1).is_some());
}

#[test]
fn slab_dropped_with_operations_in_flight_leaks_what_they_own() {
    let buffers = Arc::new(BufferSlab::unregistered(2 * 4096).unwrap());
    let mut slab = OpSlab::new();
    let _ = slab.try_insert(read_into(&buffers), IoClass::Read, NOW).ok().unwrap();
    let done = slab.try_insert(read_into(&buffers), IoClass::Read, NOW).ok().unwrap();
    let op = slab.take_op(done);
    slab.complete(done, OpDone::failed(op, io::ErrorKind::Other.into()), NOW, &mut Vec::new());
    drop(slab);
    // The completed one's buffer is free again, the other one's never.
    assert!(buffers.alloc(4096).is_some());
    assert!(buffers.alloc(2 * 4096).is_none(), "INV-8");
}

#[test]
fn full_slab_gives_the_operation_back_and_wakes_when_there_is_room() {
    let mut slab = OpSlab::new();
    let keys: Vec<_> = (0..OPS_PER_SHARD_MAX)
        .map(|_| slab.try_insert(exists(), IoClass::Log, NOW).ok().unwrap())
        .collect();
    assert!(slab.try_insert(exists(), IoClass::Log, NOW).is_err());
    slab.wait_for_room(Waker::noop());
    let mut woken = Vec::new();
    slab.take_room_waiters(&mut woken);
    assert!(woken.is_empty());
    slab.complete(keys[5], unit(), NOW, &mut woken);
    assert!(slab.orphan(keys[5]).is_some());
    slab.take_room_waiters(&mut woken);
    assert_eq!(woken.len(), 1);
    assert!(slab.try_insert(exists(), IoClass::Log, NOW).is_ok());
}

#[test]
fn slab_counts_latency_and_failure_per_class() {
    let mut slab = OpSlab::new();
    let key = slab.try_insert(exists(), IoClass::Merge, Moment::from_nanos(5)).ok().unwrap();
    let failed = OpDone { result: Err(io::ErrorKind::Other.into()), buf: None };
    slab.complete(key, failed, Moment::from_nanos(12), &mut Vec::new());
    let samples: Vec<_> = slab.take_samples().collect();
    assert!(samples.len() == 1 && samples[0].failed && samples[0].times.latency_ns() == 7);
    assert_eq!(samples[0].class, IoClass::Merge);
    let Poll::Ready(done) = slab.poll(key, &mut Context::from_waker(Waker::noop())) else {
        panic!("it is done");
    };
    assert!(done.result.is_err());
}
