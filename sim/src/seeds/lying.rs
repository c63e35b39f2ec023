//! A device that lies: it says that a write is done and loses it or puts it elsewhere, or hands
//! out what lies elsewhere or lay there before. What is read is right, or an error says so; a log
//! that lost acknowledged commits refuses to open.

use sombra::Options;
use sombra_runtime::sim::{DiskOp, Fault};

use super::look::{Expected, Looking, Plan};
use super::marks;
use super::run::{Failed, Run};
use crate::limits;

const LOG: &str = "wal/";
const DATA: &str = "pages.sombra";

impl Run {
    /// The end of some seeds; the store is closed, and what it shows is known.
    pub(super) fn lying_device(&mut self) -> Result<(), Failed> {
        if self.flush_suppressed || !self.random.percent(self.swarm.faults.lying_device) {
            return Ok(());
        }
        let expected = self.expected();
        let of_log = self.random.percent(25);
        let plans = if of_log { self.lies_of_log() } else { self.lies_of_data() };
        // Whatever one write leaves undone has a twin or costs one page; a lie told to a reader
        // is over when the store is.
        let is_mild = |plan: &Plan| !matches!(plan.fault, Fault::MisdirectedWrite { .. });
        let writes = plans.iter().filter(|plan| plan.on == DiskOp::Write).count();
        let may_refuse = of_log || writes > 1 || !plans.iter().all(is_mild);
        let told = format!("lies: {:?}", plans.iter().map(|plan| plan.fault).collect::<Vec<_>>());
        self.tell(told);
        // So little log that what is written is merged, again and again.
        let options =
            Options { log_bytes_max: 2 * self.options.segment_bytes, ..self.options.clone() };
        let looking = Looking {
            writes: limits::WRITES_BESIDE_LIES,
            plans,
            ends_by_cut: of_log,
            options: Some(options),
            named: None,
        };
        self.disk.set_options(|disk| disk.remember_older_versions = true);
        let seen = self.look(&expected, looking);
        self.disk.set_options(|disk| disk.remember_older_versions = false);
        let seen = seen.map_err(|error| format!("beside a lying device: {error}"))?;
        self.report.trees.damaged_reads += seen.damaged_reads;
        let refused = self.look_behind_lies(&expected)?;
        match refused {
            Some(refused) if !may_refuse => {
                Err(format!("one write of data was lost, and the store stays shut: {refused}"))
            }
            refused => {
                let is_of_log = of_log && refused.is_some();
                self.report.marks.add(marks::DAMAGED_LOG_REFUSED, u64::from(is_of_log));
                Ok(())
            }
        }
    }

    /// Opens what the device has made of it; what an opening said that refused.
    fn look_behind_lies(&mut self, expected: &Expected) -> Result<Option<String>, Failed> {
        let problems = self.inspect()?.problems.len();
        let seen = self.look(expected, Looking::sober(limits::WRITES_AFTER_ROT));
        let seen = seen.map_err(|error| format!("after a lying device: {error}"))?;
        self.report.trees.damaged_reads += seen.damaged_reads;
        let is_refused = seen.refused.is_some();
        if (seen.damaged_reads > 0 || is_refused) && problems == 0 {
            return Err(format!("damage that the checker had not found: {seen:?}"));
        }
        self.is_damaged = problems > 0 || is_refused;
        Ok(seen.refused)
    }

    /// One lie about a log write; more follow it, whose stamps give it away.
    fn lies_of_log(&mut self) -> Vec<Plan> {
        let by_bytes = 4096 * self.random.between(1, 64) as i64;
        let fault = match self.random.below(3) {
            0 => Fault::MisdirectedWrite { by_bytes },
            1 => Fault::MisdirectedWrite { by_bytes: -by_bytes },
            _ => Fault::LostWrite,
        };
        let nth = self.random.between(1, u64::from(limits::WRITES_BESIDE_LIES) / 2);
        vec![Plan { on: DiskOp::Write, path_part: LOG, nth, fault }]
    }

    fn lies_of_data(&mut self) -> Vec<Plan> {
        let mut plans = Vec::new();
        for _ in 0..self.random.between(1, 4) {
            let unit = *self.random.pick(&[512, 4096, 4096, 65_536]);
            let away = unit * self.random.between(1, 64) as i64;
            let by_bytes = if self.random.percent(50) { away } else { -away };
            let (on, fault) = match self.random.below(4) {
                0 => (DiskOp::Write, Fault::LostWrite),
                1 => (DiskOp::Write, Fault::MisdirectedWrite { by_bytes }),
                2 => (DiskOp::Read, Fault::MisdirectedRead { by_bytes }),
                _ => (DiskOp::Read, Fault::StaleRead),
            };
            plans.push(Plan { on, path_part: DATA, nth: self.random.scale(1, 200), fault });
        }
        plans
    }
}
