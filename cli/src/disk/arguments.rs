//! Job options among the arguments of `sombra disk run`, where fio's users expect them.

use std::ffi::OsString;

use sombra_bench::disk::job_file::option_names;

/// The argument that carries one of them past the command line's own parser.
pub(super) const JOB_OPTION: &str = "--job-option";

/// Rewrites `--runtime=5` to `--job-option=runtime=5` where the command is `disk run` and the
/// name is one of fio's. Everything else stays as it is, for the parser to judge.
pub(crate) fn with_job_options(arguments: Vec<OsString>) -> Vec<OsString> {
    let is_disk_run = arguments.get(1).is_some_and(|word| word == "disk")
        && arguments.get(2).is_some_and(|word| word == "run");
    if !is_disk_run {
        return arguments;
    }
    let rewritten = arguments.into_iter().map(|argument| match argument.to_str() {
        Some(text) if is_job_option(text) => {
            format!("{JOB_OPTION}={}", text.trim_start_matches('-')).into()
        }
        _ => argument,
    });
    rewritten.collect()
}

fn is_job_option(argument: &str) -> bool {
    let Some(option) = argument.strip_prefix("--") else { return false };
    let name = option.split('=').next().unwrap_or(option);
    option_names().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        let rewritten = with_job_options(arguments);
        rewritten.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn job_options_of_disk_run_are_told_apart_from_its_own() {
        assert_eq!(
            rewritten("sombra disk run --directory=/x --dry-run --time_based a.fio --bs=4k"),
            "sombra disk run --job-option=directory=/x --dry-run --job-option=time_based a.fio \
             --job-option=bs=4k"
        );
    }

    #[test]
    fn arguments_of_other_commands_stay_as_they_are() {
        for line in ["sombra bench --size=3", "sombra disk", "sombra disk run --unheard=1"] {
            assert_eq!(rewritten(line), line);
        }
    }
}
