//! Inputs out of inputs: lines dropped, doubled, mixed with others, options and values swapped for
//! those of a dictionary, bytes flipped.

use crate::limits::FUZZ_TEXT_BYTES_MAX;
use sombra_bench::random::Random;

/// Words that a reader of options treats in a way of their own.
pub(super) struct Dictionary {
    pub(super) names: Vec<&'static str>,
    pub(super) values: &'static [&'static str],
    pub(super) lines: &'static [&'static str],
}

pub(super) struct TextMutator {
    random: Random,
    dictionary: Dictionary,
}

/// Most changes of one input.
const CHANGES_MAX: usize = 6;

impl TextMutator {
    pub(super) fn new(seed: u64, dictionary: Dictionary) -> TextMutator {
        TextMutator { random: Random::new(seed), dictionary }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).expect("below a usize")
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// The next input, out of one or two of `corpus`.
    pub(super) fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let parent = String::from_utf8_lossy(&corpus[self.below(corpus.len())]);
        let mut lines: Vec<String> = parent.lines().map(str::to_owned).collect();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut lines, corpus);
        }
        let mut bytes = lines.join("\n").into_bytes();
        if self.below(8) == 0 {
            self.flip_bytes(&mut bytes);
        }
        bytes.truncate(FUZZ_TEXT_BYTES_MAX);
        bytes
    }

    fn change(&mut self, lines: &mut Vec<String>, corpus: &[Vec<u8>]) {
        if lines.is_empty() {
            lines.push("[a]".into());
        }
        let at = self.below(lines.len());
        match self.below(9) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => {
                let other = self.below(lines.len());
                lines.swap(at, other);
            }
            3 => {
                let line = self.pick(self.dictionary.lines);
                lines.insert(at + 1, line.to_owned());
            }
            4 => {
                let other = String::from_utf8_lossy(&corpus[self.below(corpus.len())]);
                let from = self.below(other.lines().count().max(1));
                let taken = other.lines().skip(from).take(8).map(str::to_owned);
                lines.splice(at..at, taken);
            }
            5 => self.change_value(&mut lines[at]),
            6 => {
                let number = self.number();
                lines[at] = format!("{}={number}", name_of(&lines[at]));
            }
            _ => {
                let line = self.option();
                lines.insert(at + 1, line);
            }
        }
    }

    /// An option of the dictionary with a value that may or may not be its own.
    fn option(&mut self) -> String {
        let place = self.below(self.dictionary.names.len());
        let name = self.dictionary.names[place];
        match self.below(4) {
            0 => name.to_owned(),
            1 => format!("{name}={}", self.number()),
            _ => format!("{name}={}", self.pick(self.dictionary.values)),
        }
    }

    fn number(&mut self) -> String {
        let digits = match self.below(4) {
            0 => self.random.next_u64(),
            1 => 1 << self.below(64),
            _ => self.below(130) as u64,
        };
        let unit = self.pick(&["", "", "k", "m", "g", "p", "kib", "%", "s", "ms", "us", "d", "x"]);
        format!("{digits}{unit}")
    }

    /// Another value behind the option of a line, or one more piece of it.
    fn change_value(&mut self, line: &mut String) {
        let value = self.pick(self.dictionary.values);
        let name = name_of(line).to_owned();
        match self.below(3) {
            0 => *line = format!("{name}={value}"),
            1 => line.push_str(self.pick(&[",", ":", "-", "/", "(", ")", "$", "\\:", "%"])),
            _ => line.push_str(value),
        }
    }

    fn flip_bytes(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len());
            bytes[at] ^= 1 << self.below(8);
        }
    }
}

fn name_of(line: &str) -> &str {
    line.split('=').next().unwrap_or(line)
}
