//! Job files good and bad, and fio itself as the judge of both where it is installed.

mod differential;
mod good;
mod malformed;

use super::*;

/// Files to include, by name.
type Shelf<'a> = &'a [(&'a str, &'a str)];

fn with_world<T>(shelf: Shelf<'_>, lenient: bool, with: impl Fn(&Surroundings<'_>) -> T) -> T {
    let load = |path: &Path| {
        let found = shelf.iter().find(|(name, _)| path == Path::new(name));
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
    };
    let variable = |name: &str| match name {
        "SIZE" => Some("64m".to_owned()),
        "LONG" => Some("x".repeat(crate::limits::DISK_JOB_VALUE_BYTES_MAX)),
        _ => None,
    };
    with(&Surroundings {
        variable: &variable,
        load: &load,
        cpus: Some(&[0, 1, 2, 3]),
        page_bytes: 4096,
        memory_bytes: 8 << 30,
        lenient,
    })
}

fn parse(text: &str, shelf: Shelf<'_>) -> Result<JobFile, Vec<JobFileError>> {
    with_world(shelf, false, |world| {
        JobFile::parse(text, "dir/t.fio", &CommandLine::default(), world)
    })
}

/// The one job of a good file.
fn job(text: &str) -> Job {
    let mut file = parse(text, &[]).unwrap();
    assert_eq!(file.jobs.len(), 1, "{text}");
    file.jobs.remove(0)
}

fn job_of(options: &str) -> Job {
    job(&format!("[a]\nsize=1m\n{options}"))
}
