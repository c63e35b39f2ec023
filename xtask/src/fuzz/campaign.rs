//! One target and its inputs: tried, judged, and kept when their outcome is new.

use super::subject::{PLANTED, Subject};
use super::watch::{Watch, cpu_time};
use crate::limits::{
    FUZZ_CORPUS_BYTES_MAX, FUZZ_CORPUS_MAX, FUZZ_INPUT_MEMORY_FACTOR, FUZZ_INPUT_SECONDS_MAX,
    FUZZ_MEMORY_MIB_MAX, FUZZ_OUTCOMES_MAX,
};
use nix::sys::resource::{UsageWho, getrusage};
use sombra_bench::random::Random;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An input that must not be, and why.
pub(super) struct Found {
    pub(super) input: Vec<u8>,
    pub(super) why: String,
}

impl Found {
    pub(super) fn is_planted(&self) -> bool {
        self.why.contains(PLANTED)
    }
}

pub(super) struct Campaign {
    subject: Box<dyn Subject>,
    random: Random,
    /// Inputs to begin from: the first ones, then those whose outcome was new.
    corpus: Vec<Vec<u8>>,
    corpus_bytes: usize,
    outcomes: HashSet<u64>,
    begun: Instant,
    slowest: Duration,
    done: u64,
}

impl Campaign {
    pub(super) fn new(subject: Box<dyn Subject>, seed: u64) -> Campaign {
        let corpus = subject.corpus();
        assert!(!corpus.is_empty(), "a campaign begins with an input");
        Campaign {
            corpus_bytes: corpus.iter().map(Vec::len).sum(),
            corpus,
            subject,
            random: Random::for_client(seed, 1),
            outcomes: HashSet::new(),
            begun: Instant::now(),
            slowest: Duration::ZERO,
            done: 0,
        }
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    #[cfg(test)]
    pub(super) fn outcomes(&self) -> &HashSet<u64> {
        &self.outcomes
    }

    /// Tries the corpus as it is, then so many inputs. Memory is judged beside a watch only: with
    /// it, nobody else is at work in this process.
    pub(super) fn run(
        &mut self,
        inputs: u64,
        has_planted: bool,
        watch: Option<&Watch>,
    ) -> Option<Found> {
        let mut first = self.corpus.clone().into_iter();
        while self.done < inputs {
            let input = first.next().unwrap_or_else(|| self.subject.input(&self.corpus));
            if let Some(watch) = watch {
                watch.begin_input(&input);
            }
            let peak_before = memory_kib();
            let why = self.input(&input, has_planted);
            let why =
                why.or_else(|| watch.and_then(|_| self.grown_too_much(peak_before, input.len())));
            if let Some(why) = why {
                return Some(Found { input, why });
            }
        }
        None
    }

    /// Tries one input; what is wrong with its outcome, if anything.
    fn input(&mut self, input: &[u8], has_planted: bool) -> Option<String> {
        self.done += 1;
        let begun = cpu_time(UsageWho::RUSAGE_THREAD);
        let checked = catch_unwind(AssertUnwindSafe(|| self.subject.check(input, has_planted)));
        let took = cpu_time(UsageWho::RUSAGE_THREAD).saturating_sub(begun);
        self.slowest = self.slowest.max(took);
        let outcome = match checked {
            Ok(outcome) => outcome,
            Err(panic) => return Some(format!("panic: {}{}", text_of(panic.as_ref()), place())),
        };
        if took > Duration::from_secs(FUZZ_INPUT_SECONDS_MAX) {
            return Some(format!("took {took:?} of CPU (max {FUZZ_INPUT_SECONDS_MAX} s)"));
        }
        if self.outcomes.len() < FUZZ_OUTCOMES_MAX && self.outcomes.insert(outcome) {
            self.keep(input);
        }
        None
    }

    /// What is wrong with the memory that an input took, if anything.
    fn grown_too_much(&self, peak_before_kib: u64, input_bytes: usize) -> Option<String> {
        let peak = memory_kib();
        let grown = peak.saturating_sub(peak_before_kib);
        let by_length = (FUZZ_INPUT_MEMORY_FACTOR * input_bytes) as u64 >> 10;
        let most = (self.subject.memory_mib_max() << 10) + by_length;
        if grown > most {
            return Some(format!("{grown} KiB of memory (max {most}) for {input_bytes} bytes"));
        }
        let is_over = peak >> 10 > FUZZ_MEMORY_MIB_MAX;
        is_over.then(|| format!("{} MiB of memory (max {FUZZ_MEMORY_MIB_MAX})", peak >> 10))
    }

    /// An input with a new outcome is a good one to begin from.
    fn keep(&mut self, input: &[u8]) {
        let has_room = self.corpus_bytes + input.len() <= FUZZ_CORPUS_BYTES_MAX;
        if self.corpus.len() < FUZZ_CORPUS_MAX && has_room {
            self.corpus.push(input.to_vec());
            self.corpus_bytes += input.len();
            return;
        }
        let place = self.random.below(self.corpus.len() as u64) as usize;
        let replaced = std::mem::replace(&mut self.corpus[place], input.to_vec());
        self.corpus_bytes = self.corpus_bytes + input.len() - replaced.len();
    }

    pub(super) fn summary(&self) -> String {
        let rate = self.done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        format!(
            "{} inputs, {rate:.0} inputs/s, {} distinct outcomes, corpus {}, slowest {:?}",
            self.done,
            self.outcomes.len(),
            self.corpus.len(),
            self.slowest,
        )
    }
}

/// Peak resident memory of this process.
fn memory_kib() -> u64 {
    let kib = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
    u64::try_from(kib).unwrap_or(0)
}

pub(super) fn memory_mib() -> u64 {
    memory_kib() >> 10
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}

/// Where the panics since the last question were, the first one first.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
const PANICS_KEPT_MAX: usize = 4;

/// A panic hook that keeps the place and prints nothing.
pub(super) fn keep_place_of_panic(info: &PanicHookInfo<'_>) {
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    if panics.len() < PANICS_KEPT_MAX {
        let text = info.payload_as_str().unwrap_or("no text");
        panics.extend(info.location().map(|location| format!("{location}: {text}")));
    }
}

fn place() -> String {
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    panics.drain(..).map(|panic| format!("\n  at {panic}")).collect()
}
