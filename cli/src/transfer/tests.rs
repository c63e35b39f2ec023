mod fuzz;

use proptest::prelude::*;
use sombra::{Lsn, Routing, StoreId};

use super::format::{FRAME_ROWS_BYTES, FRAME_ROWS_MAX};
use super::reader::ExportError;
use super::{Definition, ExportReader, ExportWriter, Frame, Header, Mark, Position, Totals};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn header() -> Header {
    Header { store_id: StoreId::from_bytes([7; 16]), snapshot_lsn: Lsn::new(99), created_ms: 5 }
}

fn written(keyspaces: &[(Definition, Rows)]) -> Vec<u8> {
    let mut writer = ExportWriter::new(Vec::new(), &header()).unwrap();
    for (definition, rows) in keyspaces {
        writer.begin_keyspace(definition).unwrap();
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
    }
    let (bytes, _, length) = writer.finish().unwrap();
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn read(bytes: &[u8]) -> Result<(Vec<(Definition, Rows)>, Totals), ExportError> {
    let mut reader = ExportReader::new(bytes)?;
    let mut keyspaces: Vec<(Definition, Rows)> = Vec::new();
    loop {
        match reader.next_frame()? {
            Frame::Keyspace(definition) => keyspaces.push((definition, Vec::new())),
            Frame::Rows(rows) => {
                let last = keyspaces.last_mut().unwrap();
                last.1.extend(rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
            Frame::Done(totals) => return Ok((keyspaces, totals)),
        }
    }
}

fn sample() -> Vec<(Definition, Rows)> {
    let split = Routing::range_split(["b", "m"]);
    let rows = vec![(vec![0, 255], vec![]), (b"z".to_vec(), vec![9; 300])];
    let hash = Routing::hash_tablets(4, 7);
    vec![
        (Definition { name: "ranges".to_owned(), routing: split }, rows),
        (Definition { name: "empty ü".to_owned(), routing: hash }, Vec::new()),
    ]
}

#[test]
fn export_gives_back_what_was_written() {
    let (keyspaces, totals) = read(&written(&sample())).unwrap();
    assert_eq!(keyspaces, sample());
    let expected = Totals { keyspaces: 2, rows: 2, key_bytes: 3, value_bytes: 300 };
    assert_eq!(totals, expected);
}

#[test]
fn export_is_refused_when_any_byte_of_it_differs() {
    let bytes = written(&sample());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(read(&damaged).is_err(), "byte {at}");
    }
}

#[test]
fn export_is_refused_when_it_is_cut_anywhere_or_longer() {
    let bytes = written(&sample());
    for length in 0..bytes.len() {
        let cut = read(&bytes[..length]);
        assert!(matches!(cut, Err(ExportError::Truncated { .. })), "{length} bytes: {cut:?}");
    }
    assert!(read(&[bytes.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn frames_end_at_their_bounds() {
    let definition = Definition { name: "k".to_owned(), routing: Routing::range() };
    let small = (0..FRAME_ROWS_MAX + 1).map(|index| (index.to_be_bytes().to_vec(), Vec::new()));
    let large = (b"x".to_vec(), vec![1; FRAME_ROWS_BYTES + 1]);
    let rows: Rows = small.chain([large, (b"y".to_vec(), Vec::new())]).collect();
    let bytes = written(&[(definition, rows.clone())]);
    assert_eq!(read(&bytes).unwrap().0[0].1, rows);
    let mut reader = ExportReader::new(bytes.as_slice()).unwrap();
    while !matches!(reader.next_frame().unwrap(), Frame::Done(_)) {}
    // The definition, rows up to their bound, one row, the large one, the last one, the end.
    assert_eq!(reader.position().frames, 6);
}

#[test]
fn mark_gives_back_its_position_and_refuses_other_bytes() {
    let position = Position { frames: 3, offset: 1 << 40, crc: 0xdead_beef, rows: 12 };
    let mark = Mark { header: header(), position };
    let mut bytes = mark.encode();
    assert_eq!(Mark::decode(&bytes), Some(mark));
    bytes[30] ^= 1;
    assert_eq!(Mark::decode(&bytes), None);
    assert_eq!(Mark::decode(&[]), None);
}

proptest! {
    #[test]
    fn reader_takes_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        // Behind a true header, so that frames are looked at.
        let mut file = header().encode().0.to_vec();
        file.extend(&bytes);
        let _ = read(&file);
        let _ = read(&bytes);
    }
}
