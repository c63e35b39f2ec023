use super::*;

#[test]
fn words_reach_a_shell_as_they_are() {
    for word in ["/plain/path", "with space", "it's $HOME `x` \\", ""] {
        let echo = format!("printf %s {}", quoted(word));
        let output = Command::new("sh").args(["-c", &echo]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), word);
    }
}

#[test]
fn moments_count_from_the_phase_that_they_name() {
    let (opening, working) = (Moment::Opening(Duration::ZERO), Moment::Working(Duration::ZERO));
    assert!(opening.begins_with("P creation ") && opening.begins_with("P recovery "));
    assert!(!opening.begins_with("P driver uring") && !opening.begins_with("P working "));
    assert!(working.begins_with("P working ") && !working.begins_with("P recovery "));
}
