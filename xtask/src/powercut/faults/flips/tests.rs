use super::*;
use crate::powercut::timeline::Lines;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// One commit was acknowledged before the bit flipped.
fn left() -> Left {
    let reports = ["c 0 space", "C 0", "I 1 - 0 strict 0:0:8", "A 1 64"].map(str::to_owned);
    Left { image: Image::default(), reports: vec![reports.to_vec()], pages: vec![], live: vec![] }
}

fn outcome(place: Place, code: i32, shown: &str, is_checked_sound: bool) -> (usize, &'static str) {
    let mut lines = Lines::starting_at(0);
    lines.hear(shown.as_bytes(), || 0, |_| ());
    let status = ExitStatus::from_raw(code << 8);
    let ended = Ended { lines, status, complaint: String::new() };
    let (verdict, outcome) = judge(&left(), place, &ended, is_checked_sound).expect("lines");
    (verdict.problems.len(), outcome)
}

#[test]
fn judge_of_flips_allows_a_lost_commit_only_where_nothing_proves_it() {
    let lost = "k space\nv 0 -\nV\n";
    let (problems, told) = outcome(Place::ProvenLog, 0, lost, true);
    assert!(problems > 0 && told == "WRONG DATA");
    assert!(outcome(Place::Data, 0, lost, true).0 > 0);
    assert_eq!(outcome(Place::UnprovenLog, 0, lost, true), (0, "end of log, undetectable"));
    let right = "k space\nv 0 1:0:1:8\nV\n";
    assert_eq!(outcome(Place::ProvenLog, 0, right, true), (0, "data right"));
    assert_eq!(outcome(Place::ProvenLog, 1, "", false), (0, "refused"));
    assert_eq!(outcome(Place::ProvenLog, 1, "", true), (1, "refused"), "the checker saw nothing");
}
