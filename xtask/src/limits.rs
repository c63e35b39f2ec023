//! Every bound that a check enforces, so that nobody has to look for the number.

/// Lines of one file without its test items: above this the file must be split.
pub(crate) const FILE_LINES_MAX: usize = 600;
/// Lines of one file without its test items: above this the file is named in a note.
pub(crate) const FILE_LINES_NOTED: usize = 400;
/// Lines of one function, from `fn` to its closing brace.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
/// Characters of one line of Rust.
pub(crate) const LINE_CHARS_MAX: usize = 100;
/// Findings printed in full by one check; the rest are only counted.
pub(crate) const FINDINGS_PRINTED_MAX: usize = 100;
/// `kill` rounds, `sim` seeds and recorded histories that a developer waits for in `check`.
pub(crate) const CHECK_KILL_ROUNDS: u32 = 25;
pub(crate) const CHECK_KILL_TPCC_ROUNDS: u32 = 10;
pub(crate) const CHECK_SIM_SEEDS: &str = "0..200";
pub(crate) const CHECK_SIM_HISTORIES: &str = "0..100";
/// Wall time that `check` may take on two cores.
pub(crate) const CHECK_SECONDS_MAX: u64 = 15 * 60;
/// Bytes of one made-up text and of one made-up binary input.
pub(crate) const FUZZ_TEXT_BYTES_MAX: usize = 2 << 10;
pub(crate) const FUZZ_BINARY_BYTES_MAX: usize = 64 << 10;
/// Inputs kept to make others of, and their bytes.
pub(crate) const FUZZ_CORPUS_MAX: usize = 4_096;
pub(crate) const FUZZ_CORPUS_BYTES_MAX: usize = 64 << 20;
/// Distinct outcomes that a campaign remembers.
pub(crate) const FUZZ_OUTCOMES_MAX: usize = 1 << 20;
/// Longest CPU time for one input; of one that does not end, until it is told.
pub(crate) const FUZZ_INPUT_SECONDS_MAX: u64 = 5;
pub(crate) const FUZZ_STALL_SECONDS_MAX: u64 = 60;
/// By how much one input may raise the peak of resident memory: a base (of a store, whose files
/// are copied to be cut, a larger one) and so many times its length; and where the peak ends.
pub(crate) const FUZZ_INPUT_MEMORY_MIB_MAX: u64 = 32;
pub(crate) const FUZZ_STORE_MEMORY_MIB_MAX: u64 = 160;
pub(crate) const FUZZ_INPUT_MEMORY_FACTOR: usize = 16;
pub(crate) const FUZZ_MEMORY_MIB_MAX: u64 = 1_024;
/// Whole stores take a thousand times as long as pages: one for so many other inputs.
pub(crate) const FUZZ_STORE_INPUTS_SHARE: u64 = 100;
/// `planted`: seeds of the first run of the simulation, and of any; a run ends before it is judged.
pub(crate) const PLANTED_SEEDS_FIRST: u64 = 8;
pub(crate) const PLANTED_SEEDS_AT_ONCE_MAX: u64 = 64;
/// `planted`: seeds that the copy must pass with nothing planted.
pub(crate) const PLANTED_CONTROL_SEEDS_MAX: u64 = 100;
/// `planted`: longest time for a build, a run of seeds or a run of tests.
pub(crate) const PLANTED_COMMAND_SECONDS_MAX: u64 = 30 * 60;
/// `planted`: characters of a failing seed's reason in the table; all of it comes when it replays.
pub(crate) const PLANTED_REASON_CHARS_MAX: usize = 110;
