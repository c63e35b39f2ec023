//! Keys and values on the command line and on the screen.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use sombra::Routing;

use crate::Outcome;
use crate::failure::Failure;

/// How bytes are written: as they are, or as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notation {
    Plain,
    Hex,
}

impl Notation {
    pub(crate) fn new(hex: bool) -> Notation {
        if hex { Notation::Hex } else { Notation::Plain }
    }

    /// The bytes that an argument stands for.
    pub(crate) fn parse(self, what: &str, argument: &OsStr) -> Outcome<Vec<u8>> {
        let bytes = argument.as_bytes();
        match self {
            Notation::Plain => Ok(bytes.to_vec()),
            Notation::Hex => parse_hex(bytes).ok_or_else(|| {
                let found = bytes.escape_ascii();
                Failure::usage(format!("{what}: expected pairs of hex digits, found {found}"))
            }),
        }
    }

    /// The bytes for a reader: a line that shows every byte.
    pub(crate) fn show(self, bytes: &[u8]) -> String {
        match self {
            Notation::Plain => show_plain(bytes),
            Notation::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// How a keyspace spreads its keys, in words.
pub(crate) fn show_routing(routing: &Routing, notation: Notation) -> String {
    match routing {
        Routing::Range { boundaries } if boundaries.is_empty() => "range, 1 tablet".to_owned(),
        Routing::Range { boundaries } => {
            let shown: Vec<_> = boundaries.iter().map(|key| notation.show(key)).collect();
            format!("range, {} tablets, split at [{}]", boundaries.len() + 1, shown.join(", "))
        }
        Routing::Hash { prefix_len_bytes, tablets } => {
            format!("hash of the first {prefix_len_bytes} bytes, {tablets} tablets")
        }
    }
}

fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
    digits.chunks_exact(2).map(pair).collect()
}

/// Text stays text; control characters, backslashes and bytes that are no UTF-8 are escaped.
fn show_plain(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() || letter == '\\' {
                shown.extend(letter.escape_default());
            } else {
                shown.push(letter);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_notation_gives_back_every_byte() {
        let all: Vec<u8> = (0..=255).collect();
        let shown = Notation::Hex.show(&all);
        assert_eq!(Notation::Hex.parse("KEY", OsStr::new(&shown)).unwrap(), all);
    }

    #[test]
    fn hex_notation_refuses_odd_lengths_and_other_letters() {
        for wrong in ["a", "0g", "zz", "é"] {
            let outcome = Notation::Hex.parse("KEY", OsStr::new(wrong));
            assert!(matches!(outcome, Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn plain_notation_escapes_what_would_break_a_line() {
        assert_eq!(Notation::Plain.show("zwölf\n\\".as_bytes()), "zwölf\\n\\\\");
        assert_eq!(Notation::Plain.show(&[0xff, b'a', 0]), "\\xffa\\u{0}");
    }
}
