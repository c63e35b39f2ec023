use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_channel::oneshot;
use sombra_runtime::{IoClass, Moment, ShardId, TaskClass, TaskSpec};

use crate::harness::{SHARD_0, SHARD_1, on_shard, with_each_driver};

#[test]
fn tasks_are_woken_by_foreign_threads() {
    const THREADS: usize = 4;
    const HOPS: usize = 500;
    with_each_driver(|runtime| {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let runtime = runtime.clone();
                scope.spawn(move || {
                    let shard = ShardId::new((thread % 2) as u16);
                    for hop in 0..HOPS {
                        let (ask, asked) = oneshot::channel::<usize>();
                        let (answer, answered) = oneshot::channel();
                        runtime.run_on(shard, move |shard| {
                            let spec = TaskSpec::new("echo", TaskClass::Foreground);
                            shard.spawn(spec, async move {
                                let _ = answer.send(asked.await.unwrap() + 1);
                            });
                        });
                        // The task waits, or will; this wakes it from a plain thread.
                        ask.send(hop).unwrap();
                        assert_eq!(runtime.block_on(answered), Ok(hop + 1));
                    }
                });
            }
        });
    });
}

#[test]
fn shards_wake_each_other() {
    with_each_driver(|runtime| {
        for _ in 0..200 {
            let (ask, asked) = oneshot::channel();
            let other = runtime.clone();
            let answer = on_shard(runtime, SHARD_0, move |_| async move {
                let (reply, replied) = oneshot::channel();
                other.run_on(SHARD_1, move |shard| {
                    let spec = TaskSpec::new("ponger", TaskClass::Flush);
                    shard.spawn(spec, async move {
                        let _ = reply.send(41 + asked.await.unwrap_or(0));
                    });
                });
                ask.send(1).unwrap();
                replied.await.unwrap()
            });
            assert_eq!(answer, 42);
        }
    });
}

#[test]
fn sleeps_end_in_order_and_never_early() {
    with_each_driver(|runtime| {
        let order = on_shard(runtime, SHARD_0, |shard| async move {
            let order = Rc::new(RefCell::new(Vec::new()));
            let start = shard.now();
            let left = Rc::new(Cell::new(4));
            let (done, finished) = oneshot::channel();
            let done = Rc::new(Cell::new(Some(done)));
            for ms in [9, 1, 0, 5] {
                let (inner, order) = (shard.clone(), Rc::clone(&order));
                let (left, done) = (Rc::clone(&left), Rc::clone(&done));
                shard.spawn(TaskSpec::new("sleeper", TaskClass::Foreground), async move {
                    let deadline = start.checked_add(Duration::from_millis(ms)).unwrap();
                    inner.sleep_until(deadline).await;
                    assert!(inner.now() >= deadline);
                    order.borrow_mut().push(ms);
                    left.set(left.get() - 1);
                    if left.get() == 0 {
                        done.take().unwrap().send(()).unwrap();
                    }
                });
            }
            finished.await.unwrap();
            order.take()
        });
        assert_eq!(order, [0, 1, 5, 9]);
    });
}

#[test]
fn sleep_that_is_dropped_leaves_no_timer() {
    with_each_driver(|runtime| {
        on_shard(runtime, SHARD_0, |shard| async move {
            let mut sleep = Box::pin(shard.sleep(Duration::MAX));
            std::future::poll_fn(|cx| {
                assert!(sleep.as_mut().poll(cx).is_pending());
                assert!(sleep.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            assert!(sleep.deadline() > Moment::from_nanos(0));
            drop(sleep);
            shard.sleep(Duration::from_millis(1)).await;
        });
    });
}

#[test]
fn panic_in_a_task_is_told_and_the_shard_lives_on() {
    with_each_driver(|runtime| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let dropped = Arc::new(AtomicUsize::new(0));
        let (sink, witness) = (Arc::clone(&told), Arc::clone(&dropped));
        runtime.run_on(SHARD_0, move |shard| {
            struct Witness(Arc<AtomicUsize>);
            impl Drop for Witness {
                fn drop(&mut self) {
                    self.0.fetch_add(1, Ordering::SeqCst);
                }
            }
            let spec = TaskSpec::new("careless", TaskClass::Foreground).on_panic(Arc::new(
                move |task: &str, message: &str| {
                    sink.lock().unwrap().push(format!("{task}: {message}"));
                },
            ));
            let (witness, inner) = (Witness(witness), shard.clone());
            shard.spawn(spec, async move {
                let _witness = witness;
                inner.yield_now().await;
                panic!("seven is not {}", 8);
            });
        });
        runtime.run_on(SHARD_0, |_| panic!("a job may panic too"));
        let alive = on_shard(runtime, SHARD_0, |shard| async move {
            shard.sleep(Duration::from_millis(1)).await;
            shard.yield_now().await;
            shard.id()
        });
        assert_eq!(alive, SHARD_0);
        assert_eq!(*told.lock().unwrap(), ["careless: seven is not 8"]);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        let panics: u64 = runtime.metrics().iter().map(|shard| shard.panics).sum();
        assert_eq!(panics, 2);
    });
}

#[test]
fn task_that_panics_while_dropped_does_not_hinder_shutdown() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    with_each_driver(|runtime| {
        on_shard(runtime, SHARD_0, |shard| async move {
            for _ in 0..3 {
                shard.spawn(TaskSpec::new("bomb", TaskClass::Merge), async {
                    let _bomb = Bomb;
                    std::future::pending::<()>().await;
                });
            }
            shard.yield_now().await;
            shard.yield_now().await;
        });
    });
}

#[test]
fn long_poll_is_counted_as_a_stall() {
    with_each_driver(|runtime| {
        on_shard(runtime, SHARD_1, |shard| async move {
            let begin = shard.now();
            while shard.now().saturating_since(begin) < Duration::from_millis(6) {
                std::hint::spin_loop();
            }
        });
        // Metrics trail by a turn: a second visit makes sure that one has passed.
        on_shard(runtime, SHARD_1, |shard| async move { shard.yield_now().await });
        let metrics = &runtime.metrics()[1];
        assert!(metrics.stalls >= 1);
        assert!(metrics.poll_ns.max() >= 5_000_000);
        assert_eq!(metrics.class(IoClass::Read).submitted, 0);
    });
}

#[test]
fn block_on_refuses_a_shards_own_thread() {
    with_each_driver(|runtime| {
        let inner = runtime.clone();
        let refused = on_shard(runtime, SHARD_0, move |_| async move {
            let blocked = std::panic::AssertUnwindSafe(|| inner.block_on(async {}));
            std::panic::catch_unwind(blocked).is_err()
        });
        assert!(refused);
        runtime.block_on(async {});
    });
}

#[test]
fn random_numbers_differ_between_shards_and_calls() {
    with_each_driver(|runtime| {
        let draw = |shard| {
            on_shard(
                runtime,
                shard,
                |shard| async move { [shard.random_u64(), shard.random_u64()] },
            )
        };
        let (first, second) = (draw(SHARD_0), draw(SHARD_1));
        assert!(first[0] != first[1] && first != second);
    });
}
