//! CPU time of the calling thread, which is a job's own.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use sombra_runtime::{DriverKind, Shard};

use crate::disk::outcome::CpuUse;

/// What the thread had used when the clock was started; nothing under simulation, where no
/// thread is the job's.
pub(super) struct CpuClock(Option<CpuUse>);

impl CpuClock {
    pub(super) fn start(shard: &Shard) -> CpuClock {
        let is_real = shard.driver_kind() != DriverKind::Sim;
        CpuClock(is_real.then(now))
    }

    pub(super) fn used(&self) -> CpuUse {
        let Some(then) = &self.0 else { return CpuUse::default() };
        let now = now();
        CpuUse {
            user_us: now.user_us - then.user_us,
            system_us: now.system_us - then.system_us,
            context_switches: now.context_switches - then.context_switches,
            major_faults: now.major_faults - then.major_faults,
            minor_faults: now.minor_faults - then.minor_faults,
        }
    }
}

fn now() -> CpuUse {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let of = |usage: Usage| {
        let (user, system) = (usage.user_time(), usage.system_time());
        CpuUse {
            user_us: count(user.tv_sec() * 1_000_000 + user.tv_usec()),
            system_us: count(system.tv_sec() * 1_000_000 + system.tv_usec()),
            context_switches: count(
                usage.voluntary_context_switches() + usage.involuntary_context_switches(),
            ),
            major_faults: count(usage.major_page_faults()),
            minor_faults: count(usage.minor_page_faults()),
        }
    };
    getrusage(UsageWho::RUSAGE_THREAD).map(of).unwrap_or_default()
}
