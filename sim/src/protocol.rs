//! What a writing process tells the process that will kill it: one line of text per report.
//! A line is written with one call, so what arrived is whole, whenever the writer dies.

use crate::model::{Event, Found, Intent, KeyId, SpaceId, Stamp, TxnId, Write};

/// One line of the pipe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// Where the writer is in its life.
    Phase { name: String, note: String },
    /// A keyspace that the reopened store shows.
    ShownSpace { name: String },
    /// A key of the keyspace named last.
    Shown { index: u32, found: Found },
    /// The whole store has been shown.
    ShownAll,
    /// A report of a client.
    Event(Event),
}

/// The line, without its end.
#[must_use]
pub fn format(line: &Line) -> String {
    match line {
        Line::Phase { name, note } => format!("P {name} {}", one_line(note)),
        Line::ShownSpace { name } => format!("k {name}"),
        Line::Shown { index, found } => format!("v {index} {}", format_found(*found)),
        Line::ShownAll => "V".to_owned(),
        Line::Event(event) => format_event(event),
    }
}

fn format_event(event: &Event) -> String {
    match event {
        Event::Intent(intent) => format_intent(intent),
        Event::Acknowledged { id, lsn } => format!("A {} {lsn}", id.0),
        Event::Refused { id } => format!("R {}", id.0),
        Event::Doubtful { id } => format!("D {}", id.0),
        Event::Read { snapshot, key, found } => {
            let found = format_found(*found);
            format!("r {snapshot} {} {} {found}", key.space.0, key.index)
        }
        Event::SpaceCreating { space, name } => format!("c {} {name}", space.0),
        Event::SpaceCreated { space } => format!("C {}", space.0),
        Event::SpaceCreateRefused { space } => format!("x {}", space.0),
        Event::SpaceDropping { space } => format!("d {}", space.0),
        Event::SpaceDropped { space } => format!("E {}", space.0),
        Event::SpaceDropRefused { space } => format!("X {}", space.0),
        Event::Broken { what } => format!("B {}", one_line(what)),
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn format_intent(intent: &Intent) -> String {
    let snapshot = intent.snapshot.map_or("-".to_owned(), |snapshot| snapshot.to_string());
    let durability = if intent.relaxed { "relaxed" } else { "strict" };
    let mut line = format!("I {} {snapshot} {} {durability}", intent.id.0, intent.floor);
    for write in &intent.writes {
        let len = write.value_len.map_or("-".to_owned(), |len| len.to_string());
        line.push_str(&format!(" {}:{}:{len}", write.key.space.0, write.key.index));
    }
    line
}

fn format_found(found: Found) -> String {
    match found {
        Found::Absent => "-".to_owned(),
        Found::Garbled => "!".to_owned(),
        Found::Value(stamp) => {
            format!("{}:{}:{}:{}", stamp.txn.0, stamp.index, stamp.count, stamp.len)
        }
    }
}

/// Reads a line back; `None` if it is none of these.
#[must_use]
pub fn parse(text: &str) -> Option<Line> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut words = rest.split(' ');
    let mut word = || words.next();
    Some(match kind {
        "P" => {
            let (name, note) = rest.split_once(' ')?;
            Line::Phase { name: name.to_owned(), note: note.to_owned() }
        }
        "k" => Line::ShownSpace { name: rest.to_owned() },
        "v" => Line::Shown { index: word()?.parse().ok()?, found: parse_found(word()?)? },
        "V" => Line::ShownAll,
        _ => Line::Event(parse_event(kind, rest)?),
    })
}

fn parse_event(kind: &str, rest: &str) -> Option<Event> {
    let mut words = rest.split(' ');
    let first = words.next()?;
    let id = || first.parse().ok().map(TxnId);
    let space = || first.parse().ok().map(SpaceId);
    Some(match kind {
        "I" => Event::Intent(parse_intent(rest)?),
        "A" => Event::Acknowledged { id: id()?, lsn: words.next()?.parse().ok()? },
        "R" => Event::Refused { id: id()? },
        "D" => Event::Doubtful { id: id()? },
        "r" => {
            let space = SpaceId(words.next()?.parse().ok()?);
            let key = KeyId { space, index: words.next()?.parse().ok()? };
            let found = parse_found(words.next()?)?;
            Event::Read { snapshot: first.parse().ok()?, key, found }
        }
        "c" => Event::SpaceCreating { space: space()?, name: words.next()?.to_owned() },
        "C" => Event::SpaceCreated { space: space()? },
        "x" => Event::SpaceCreateRefused { space: space()? },
        "d" => Event::SpaceDropping { space: space()? },
        "E" => Event::SpaceDropped { space: space()? },
        "X" => Event::SpaceDropRefused { space: space()? },
        "B" => Event::Broken { what: rest.to_owned() },
        _ => return None,
    })
}

fn parse_intent(rest: &str) -> Option<Intent> {
    let mut words = rest.split(' ');
    let id = TxnId(words.next()?.parse().ok()?);
    let snapshot = match words.next()? {
        "-" => None,
        number => Some(number.parse().ok()?),
    };
    let floor = words.next()?.parse().ok()?;
    let relaxed = match words.next()? {
        "relaxed" => true,
        "strict" => false,
        _ => return None,
    };
    let write = |word: &str| {
        let mut parts = word.split(':');
        let space = SpaceId(parts.next()?.parse().ok()?);
        let key = KeyId { space, index: parts.next()?.parse().ok()? };
        let value_len = match parts.next()? {
            "-" => None,
            len => Some(len.parse().ok()?),
        };
        Some(Write { key, value_len })
    };
    let writes = words.map(write).collect::<Option<Vec<_>>>()?;
    Some(Intent { id, snapshot, floor, relaxed, writes })
}

fn parse_found(word: &str) -> Option<Found> {
    match word {
        "-" => return Some(Found::Absent),
        "!" => return Some(Found::Garbled),
        _ => {}
    }
    let mut parts = word.split(':');
    let txn = TxnId(parts.next()?.parse().ok()?);
    let index = parts.next()?.parse().ok()?;
    let count = parts.next()?.parse().ok()?;
    Some(Found::Value(Stamp { txn, index, count, len: parts.next()?.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_the_same_after_a_round_trip() {
        let key = KeyId { space: SpaceId(2), index: 7 };
        let id = TxnId::new(3, 2, 1);
        let writes = vec![Write { key, value_len: Some(99) }, Write { key, value_len: None }];
        let intent = |snapshot, relaxed| {
            let writes = writes.clone();
            Event::Intent(Intent { id, snapshot, floor: 4, relaxed, writes })
        };
        let stamp = Stamp { txn: id, index: 1, count: 2, len: 99 };
        let mut lines: Vec<Line> = [
            intent(Some(5), true),
            intent(None, false),
            Event::Acknowledged { id, lsn: 9 },
            Event::Refused { id },
            Event::Doubtful { id },
            Event::Read { snapshot: 5, key, found: Found::Value(stamp) },
            Event::Read { snapshot: 5, key, found: Found::Absent },
            Event::SpaceCreating { space: SpaceId(9), name: "temporary-1".to_owned() },
            Event::SpaceCreated { space: SpaceId(9) },
            Event::SpaceCreateRefused { space: SpaceId(9) },
            Event::SpaceDropping { space: SpaceId(9) },
            Event::SpaceDropped { space: SpaceId(9) },
            Event::SpaceDropRefused { space: SpaceId(9) },
            Event::Broken { what: "a b c".to_owned() },
        ]
        .into_iter()
        .map(Line::Event)
        .collect();
        lines.push(Line::Phase { name: "opened".to_owned(), note: "x y".to_owned() });
        lines.push(Line::ShownSpace { name: "split".to_owned() });
        lines.push(Line::Shown { index: 3, found: Found::Garbled });
        lines.push(Line::ShownAll);
        for line in lines {
            assert_eq!(parse(&format(&line)), Some(line));
        }
        for wrong in ["", "I", "A 1", "v 1", "I 1 - 4 odd", "Z 1", "v 1 1:2:3"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
