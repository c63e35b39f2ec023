//! What every kind of seed does with a simulated machine: draw its disk, turn it while somebody
//! works, and end it.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::Debug;
use std::future::Future;
use std::rc::Rc;

use sombra::DurabilityMethod;
use sombra_runtime::WriteCache;
use sombra_runtime::sim::{RunEnd, SimDisk, SimDiskOptions, SimLatency, SimWorld};

use crate::limits;
use crate::random::Random;

/// How a store makes its log durable, for a seed to pick from; `None` measures.
pub(crate) const DURABILITY_METHODS: [Option<DurabilityMethod>; 5] = [
    None,
    Some(DurabilityMethod::Dsync),
    Some(DurabilityMethod::Dsync),
    Some(DurabilityMethod::RingFlush),
    Some(DurabilityMethod::PoolFlush),
];

/// Tells drawings about the device from others of the same seed.
const OF_THE_DEVICE: u64 = 0xD1;

/// What a seed that panicked says of it.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("without a message"))
}

/// A disk of random speed that in a share of seeds does less than it was asked for.
pub(crate) fn draw_disk(random: &mut Random) -> SimDiskOptions {
    let mut disk = SimDiskOptions::new(random.next_u64());
    disk.short_io_one_in = *random.pick(&[0, 0, 20, 200]);
    disk.garbage_sector_one_in = *random.pick(&[0, 0, 8, 40]);
    disk.dio_alignment_bytes = *random.pick(&[512, 4096, 4096]);
    let mut latency = |high: u64| SimLatency::us(1, random.scale(2, high) as u32);
    disk.read_latency = latency(400);
    disk.write_latency = latency(1_000);
    disk.flush_latency = latency(4_000);
    disk.path_latency = latency(2_000);
    let mut extra = random.fork(OF_THE_DEVICE);
    disk.slow_one_in = *extra.pick(&[0, 20, 50, 50, 400]);
    if extra.percent(10) {
        disk.write_cache = WriteCache::WriteThrough;
    }
    disk
}

/// Turns the world until `done` says so of what `look` sees. Fails when that does not change any
/// more.
pub(crate) fn work<P: PartialEq + Debug>(
    world: &mut SimWorld,
    look: impl Fn() -> P,
    done: impl Fn(&P) -> bool,
) -> Result<(), String> {
    let (mut progress, mut since) = (look(), world.now());
    let begun = world.steps();
    loop {
        match world.run(limits::STEPS_PER_LOOK, || done(&look())) {
            RunEnd::Done => return Ok(()),
            RunEnd::Stuck => return Err(format!("stuck: {:?}; {}", look(), world.describe())),
            RunEnd::StepsExhausted => {}
        }
        let (now, at) = (look(), world.now());
        if now != progress {
            (progress, since) = (now, at);
        }
        let idle = at.saturating_since(since);
        let steps = world.steps() - begun;
        if idle > limits::IDLE_MAX || steps > limits::STEPS_EPISODE_MAX {
            let where_now = world.describe();
            return Err(format!("no progress for {idle:?}, {steps} steps: {where_now}"));
        }
    }
}

/// Turns the world until a client of its own has run to its end. Fails when that does not come.
pub(crate) fn finish<T: 'static>(
    world: &mut SimWorld,
    name: &str,
    task: impl Future<Output = T> + 'static,
) -> Result<T, String> {
    let answer = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&answer);
    world.spawn_client(name, async move {
        let outcome = task.await;
        *slot.borrow_mut() = Some(outcome);
    });
    let end = world.run(limits::STEPS_OPEN_MAX, || answer.borrow().is_some());
    let outcome = answer.borrow_mut().take();
    outcome.ok_or_else(|| format!("{name} hangs ({end:?}): {}", world.describe()))
}

/// How a world ends that nobody ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crash {
    /// The process dies; what it had written is still in the device.
    Kill,
    /// The machine loses power: what was not flushed is kept, lost or torn by sectors.
    PowerCut,
    /// The process dies, then the machine loses power before anybody opens the store.
    KillThenPowerCut,
}

impl Crash {
    pub(crate) const ALL: [Crash; 3] = [Crash::Kill, Crash::PowerCut, Crash::KillThenPowerCut];

    pub(crate) fn end(self, world: SimWorld, disk: &SimDisk) {
        match self {
            Crash::Kill => world.kill(),
            Crash::PowerCut => world.power_cut(),
            Crash::KillThenPowerCut => {
                world.kill();
                disk.power_cut();
            }
        }
    }
}
