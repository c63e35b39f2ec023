//! `cargo xtask sim`: seeds of the whole-system simulation. A seed that fails is printed and
//! replays alone with `--seed`.

use crate::Failure;
use std::ops::Range;

#[derive(clap::Args)]
pub(crate) struct SimArguments {
    /// Seeds to run, `FIRST..END` without the end
    #[arg(long, value_parser = parse_seeds, required_unless_present = "seed")]
    seeds: Option<Range<u64>>,
    /// Replay this seed only
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

impl SimArguments {
    fn range(&self) -> Range<u64> {
        match (self.seed, &self.seeds) {
            (Some(seed), _) => seed..seed.saturating_add(1),
            (None, Some(seeds)) => seeds.clone(),
            (None, None) => 0..0,
        }
    }
}

pub(crate) fn run(arguments: &SimArguments) -> Result<(), Failure> {
    let seeds = arguments.range();
    Err(format!("the simulation is not built in (asked for seeds {}..{})", seeds.start, seeds.end))
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range such as 0..200");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let first: u64 = first.parse().map_err(|_| wrong())?;
    let end: u64 = end.parse().map_err(|_| wrong())?;
    if first < end { Ok(first..end) } else { Err(format!("`{text}` holds no seed")) }
}

#[cfg(test)]
mod tests {
    use super::parse_seeds;

    #[test]
    fn seeds_are_a_range_that_holds_at_least_one() {
        assert_eq!(parse_seeds("3..7"), Ok(3..7));
        for wrong in ["3", "7..3", "3..3", "a..b", ""] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
