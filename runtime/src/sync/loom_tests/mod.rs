//! Loom models of the protocols in this folder. Each safety step that a protocol names has a
//! model that fails without it (`Fault`), so that a model which cannot fail is noticed.
//!
//! `RUSTFLAGS="--cfg sombra_loom" cargo test --release -p sombra-runtime --lib loom`

mod log_flush;
mod log_order;
mod queues;
mod wakes;

use super::fault::{Fault, Faults};
use loom::sync::{Condvar, Mutex};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Switches away from a thread that could go on, per run; more finds little and costs a lot.
const PREEMPTIONS_MAX: usize = 3;

fn model(check: impl Fn() + Send + Sync + 'static) {
    model_with(PREEMPTIONS_MAX, check);
}

fn model_with(preemptions_max: usize, check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let from_environment = builder.preemption_bound;
    builder.preemption_bound = from_environment.or(Some(preemptions_max));
    builder.max_branches = 10_000;
    builder.check(check);
}

fn without(fault: Fault) -> Faults {
    Faults::omitting(fault)
}

struct Parker {
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock().expect("no thread panics") = true;
        self.woken.notify_one();
    }
}

/// Runs `future` and sleeps between polls; a lost wake-up is a deadlock, which loom reports.
/// The future is not dropped then: its destructor would use loom, which has given up.
fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Arc::new(Parker { is_woken: Mutex::new(false), woken: Condvar::new() });
    let waker = Waker::from(Arc::clone(&parker));
    let mut future = ManuallyDrop::new(Box::pin(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            drop(ManuallyDrop::into_inner(future));
            return output;
        }
        let mut is_woken = parker.is_woken.lock().expect("no thread panics");
        while !*is_woken {
            is_woken = parker.woken.wait(is_woken).expect("no thread panics");
        }
        *is_woken = false;
    }
}
