//! What the writer tells of orders and payments: one line of text per report.

use sombra_bench::workload::tpcc::Place;

/// Names a transaction of a store: its terminal, and which one of the terminal's it is.
pub(super) type Id = (u32, u32);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// A transaction begins that is to leave this behind.
    Intent {
        id: Id,
        digest: u64,
    },
    Acknowledged {
        id: Id,
        place: Place,
    },
    /// It was rolled back, or refused: nothing happened.
    Refused {
        id: Id,
    },
    /// An order or a payment that the reopened store holds.
    Shown {
        place: Place,
        digest: u64,
    },
    /// Rows that do not fit together.
    Wrong(String),
    /// The whole store has been shown: how often one of the four conditions does not hold, and how
    /// many accounts are wrong.
    ShownAll {
        conditions: u64,
        accounts: u64,
    },
    /// What must not be, whatever the store holds.
    Broken(String),
}

impl Line {
    /// The line, without its end.
    pub(super) fn format(&self) -> String {
        match self {
            Line::Intent { id: (terminal, count), digest } => {
                format!("I {terminal} {count} {digest}")
            }
            Line::Acknowledged { id: (terminal, count), place } => {
                format!("A {terminal} {count} {}", format_place(*place))
            }
            Line::Refused { id: (terminal, count) } => format!("R {terminal} {count}"),
            Line::Shown { place, digest } => format!("s {digest} {}", format_place(*place)),
            Line::Wrong(what) => format!("w {}", what.replace('\n', " ")),
            Line::ShownAll { conditions, accounts } => format!("S {conditions} {accounts}"),
            Line::Broken(what) => format!("B {}", what.replace('\n', " ")),
        }
    }

    /// Reads a line back; `None` if it is none of these.
    pub(super) fn parse(text: &str) -> Option<Line> {
        let (kind, rest) = text.split_once(' ')?;
        match kind {
            "w" => return Some(Line::Wrong(rest.to_owned())),
            "B" => return Some(Line::Broken(rest.to_owned())),
            _ => {}
        }
        let numbers = rest.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        let id = || Some((small(numbers.first()?)?, small(numbers.get(1)?)?));
        Some(match (kind, numbers.len()) {
            ("I", 3) => Line::Intent { id: id()?, digest: numbers[2] },
            ("A", _) => Line::Acknowledged { id: id()?, place: parse_place(&numbers[2..])? },
            ("R", 2) => Line::Refused { id: id()? },
            ("s", _) => Line::Shown { place: parse_place(&numbers[1..])?, digest: numbers[0] },
            ("S", 2) => Line::ShownAll { conditions: numbers[0], accounts: numbers[1] },
            _ => return None,
        })
    }
}

fn small(number: &u64) -> Option<u32> {
    u32::try_from(*number).ok()
}

/// Three numbers are an order, four a payment.
fn format_place(place: Place) -> String {
    match place {
        Place::Order { warehouse, district, number } => format!("{warehouse} {district} {number}"),
        Place::Payment { warehouse, district, terminal, sequence } => {
            format!("{warehouse} {district} {terminal} {sequence}")
        }
    }
}

fn parse_place(numbers: &[u64]) -> Option<Place> {
    let numbers = numbers.iter().map(small).collect::<Option<Vec<u32>>>()?;
    match *numbers.as_slice() {
        [warehouse, district, number] => Some(Place::Order { warehouse, district, number }),
        [warehouse, district, terminal, sequence] => {
            Some(Place::Payment { warehouse, district, terminal, sequence })
        }
        _ => None,
    }
}
