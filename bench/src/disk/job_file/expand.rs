//! What stands in a value for something else: `${VARIABLE}`, `$ncpus`, `$pagesize`, `$mb_memory`.

use super::Surroundings;
use super::draft::Draft;
use super::expression;
use crate::limits::DISK_JOB_VALUE_BYTES_MAX;

/// `value` with variables and keywords replaced; arithmetic on keywords (`8*$pagesize`) is done.
pub(super) fn value(value: &str, draft: &mut Draft, surroundings: &Surroundings<'_>) -> String {
    if !value.contains('$') {
        return value.to_owned();
    }
    let value = variables(value, draft, surroundings);
    let (value, had_keywords) = keywords(value, surroundings);
    if !had_keywords || value.starts_with('(') {
        return value;
    }
    let plain = |atom: &str| atom.parse().ok();
    expression::evaluate(&value, &plain).map_or(value, |number| number.to_string())
}

fn variables(value: &str, draft: &mut Draft, surroundings: &Surroundings<'_>) -> String {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, after)) = behind.split_once('}') else { break };
        expanded.push_str(before);
        match (surroundings.variable)(name) {
            Some(text) => expanded.push_str(&text),
            None => draft.warn(format!("variable '{name}' is not set: nothing in its place")),
        }
        rest = after;
        // The caller refuses a value that is too long: how long exactly is no matter.
        if expanded.len() > DISK_JOB_VALUE_BYTES_MAX {
            break;
        }
    }
    expanded.push_str(rest);
    expanded
}

fn keywords(mut value: String, surroundings: &Surroundings<'_>) -> (String, bool) {
    let mut had_any = false;
    let cpus = surroundings.cpus.map_or(1, <[usize]>::len) as u64;
    let known = [
        ("$ncpus", cpus),
        ("$pagesize", surroundings.page_bytes),
        ("$mb_memory", surroundings.memory_bytes >> 20),
    ];
    for (name, number) in known {
        if value.contains(name) {
            value = value.replace(name, &number.to_string());
            had_any = true;
        }
    }
    (value, had_any)
}
