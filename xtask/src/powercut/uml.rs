//! A second opinion on power cuts: a User-Mode Linux guest, another kernel with a disk of its own,
//! is killed while a store is written in it.
//!
//! The guest's disk is a file of this host. In the guest a loop device without direct I/O stands
//! on it, so that the guest's memory is the disk's volatile cache: what was not flushed is lost
//! with the guest. The control turns the flushes of that device off. What this leaves out: the
//! host's page cache keeps all that the guest wrote, whole; sectors torn or written in another
//! order are for the recording disk.

mod guest;

use super::device::Device;
use super::host::Places;
use super::totals::{CONTROL, Totals, Verdict};
use super::{PowercutArguments, writer};
use crate::Failure;
use crate::kill::{Course, Judge, Plan, Workload};
pub(super) use guest::missing;
use guest::{Cache, Guest, Moment};
use sombra_sim::random::Random;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Large enough for every file system here, and for what the guests write.
const DISK_BYTES: u64 = 512 << 20;
/// Guests that die on one disk before it is made anew.
const GUESTS_PER_DISK: u64 = 4;
/// Kills while the store is opened; the others hit its clients at work.
const OPENING_PERCENT: u64 = 20;
const OPENING_MS_MAX: u64 = 1_500;
const WORK_MS_MAX: u64 = 3_000;
/// One control guest for so many others, how many there are at least, and how long each works.
const GUESTS_PER_CONTROL: u64 = 10;
const CONTROL_MIN: u64 = 2;
const CONTROL_WORK: Duration = Duration::from_secs(2);
const ROW: &str = "guest killed";

/// Kills as many guests as were asked for, then those of the control.
pub(super) fn run(
    arguments: &PowercutArguments,
    guests: u64,
    places: &Places,
) -> (Totals, Result<(), Failure>) {
    let mut test = GuestCuts {
        arguments,
        places,
        disk: places.guest_folder().join("disk"),
        totals: Totals::default(),
        life: 0,
    };
    let outcome = test.run(guests);
    // It is sparse and in a build folder; the next run takes the folder as it is.
    let _kept = std::fs::remove_dir_all(places.guest_folder());
    (test.totals, outcome)
}

struct GuestCuts<'a> {
    arguments: &'a PowercutArguments,
    places: &'a Places,
    disk: PathBuf,
    totals: Totals,
    life: u32,
}

/// What is known of the store on a disk.
struct Known {
    judge: Box<dyn Judge>,
    shards: u64,
    was_open: bool,
}

impl GuestCuts<'_> {
    fn run(&mut self, guests: u64) -> Result<(), Failure> {
        let mut random = Random::new(self.arguments.seed);
        let begun = Instant::now();
        let mut left = guests;
        while left > 0 {
            let mut known = self.fresh(&mut random)?;
            for _ in 0..left.min(GUESTS_PER_DISK) {
                let moment = draw_moment(&mut random);
                self.cut(&mut known, moment, (Cache::Honest, random.next_u64()))?;
                left -= 1;
            }
            let (done, seconds) = (guests - left, begun.elapsed().as_secs());
            println!("powercut: {done} guests, {seconds} s");
            self.totals.judging = begun.elapsed();
        }
        for _ in 0..(guests / GUESTS_PER_CONTROL).max(CONTROL_MIN) {
            // What an honest guest leaves is there to be found when all of the next one's is lost.
            let mut known = self.fresh(&mut random)?;
            let moment = Moment::Working(CONTROL_WORK);
            for cache in [Cache::Honest, Cache::Lying] {
                self.cut(&mut known, moment, (cache, random.next_u64()))?;
            }
        }
        self.totals.judging = begun.elapsed();
        Ok(())
    }

    /// An empty disk.
    fn fresh(&self, random: &mut Random) -> Result<Known, Failure> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.disk.display());
        std::fs::create_dir_all(self.places.guest_folder()).map_err(failed)?;
        File::create(&self.disk).and_then(|disk| disk.set_len(DISK_BYTES)).map_err(failed)?;
        self.arguments.fs.make_on(self.disk.as_os_str())?;
        let judge = Workload::Model.judge();
        Ok(Known { judge, shards: random.between(2, 4), was_open: false })
    }

    /// Starts a guest, kills it, and looks at what it left.
    fn cut(
        &mut self,
        known: &mut Known,
        moment: Moment,
        (cache, seed): (Cache, u64),
    ) -> Result<(), Failure> {
        let plan = self.plan(Course::Work { kill_after: moment.after() }, seed, known.shards);
        let guest = Guest { kind: self.arguments.fs, disk: &self.disk, cache };
        let reports = guest.run(&plan, self.places, moment)?;
        let heard = known.judge.hear(&reports)?;
        known.was_open |= heard.compared;
        let mut verdict = Verdict { acknowledged: heard.acknowledged, ..Verdict::default() };
        verdict.problems = heard.violations;
        self.judge(known, &mut verdict)?;
        let row = if cache == Cache::Lying { CONTROL } else { ROW };
        self.totals.add(row, &format!("guest {}, {moment:?}", plan.life), verdict);
        Ok(())
    }

    fn judge(&mut self, known: &mut Known, verdict: &mut Verdict) -> Result<(), Failure> {
        if let Err(failure) = self.places.mount_file(self.arguments.fs, &self.disk) {
            verdict.problems.push(format!("does not mount: {failure}"));
            return Ok(());
        }
        let plan = self.plan(Course::Compare, 0, known.shards);
        if known.was_open {
            verdict.checked = true;
            verdict.problems.extend(writer::check(&plan.store).err());
        }
        super::compare(&Device::new(0), &plan, known.judge.as_mut(), verdict)?;
        known.was_open = true;
        self.places.unmount_file()
    }

    fn plan(&mut self, course: Course, seed: u64, shards: u64) -> Plan {
        self.life += 1;
        let life = (seed, self.life);
        Plan::of_model(
            self.places.mounted().join("store"),
            life,
            shards,
            self.arguments.driver,
            course,
        )
    }
}

fn draw_moment(random: &mut Random) -> Moment {
    let after = |random: &mut Random, most| Duration::from_millis(random.below(most));
    match random.percent(OPENING_PERCENT) {
        true => Moment::Opening(after(random, OPENING_MS_MAX)),
        false => Moment::Working(after(random, WORK_MS_MAX)),
    }
}
