use super::*;
use std::cell::Cell;

/// A pipe whose reads bring these pieces; the disk moves on by ten before each comes back.
fn heard(pieces: &[&str]) -> Lines {
    let at = Cell::new(0);
    let mut lines = Lines::default();
    let mut pieces = pieces.iter();
    lines.hear(
        Pieces(|| {
            at.set(at.get() + 10);
            pieces.next().map(|piece| piece.as_bytes().to_vec())
        }),
        || at.get(),
        |_| {},
    );
    lines
}

struct Pieces<F>(F);

impl<F: FnMut() -> Option<Vec<u8>>> Read for Pieces<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let piece = (self.0)().unwrap_or_default();
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

#[test]
fn promises_count_from_the_position_at_which_they_were_heard() {
    let lives = [heard(&["P driver x\n", "V\nI 1\nA 1 5\n", "I 2\nA 2 6\n", "I 3\nA 3 7\n"])];
    let known = |cut| known_at(&lives, cut).pop().unwrap_or_default();
    let unclear = Unclear::of(&lives);
    assert!(!unclear.has(0) && known(0).is_empty(), "before it showed the store");
    assert!(unclear.has(15), "the line that says so was on its way");
    assert!(!unclear.has(20));
    let lines = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(known(20), lines("P driver x,V,I 1,A 1 5,I 2"));
    assert_eq!(known(29), lines("P driver x,V,I 1,A 1 5,I 2,I 3"));
    assert_eq!(known(40), lines("P driver x,V,I 1,A 1 5,I 2,A 2 6,I 3,A 3 7"));
}

#[test]
fn half_a_line_promises_nothing() {
    let lines = heard(&["V\nI 1\nA 1", " 5\n", "A 2"]);
    assert_eq!(lines.lines.iter().map(|line| line.at).collect::<Vec<_>>(), [10, 10, 20]);
    assert!(!lines.reads[0].emptied);
}
