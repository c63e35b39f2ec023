//! Reads an export frame by frame, and hands out none that is not what was written.

use std::io::{self, Read};

use thiserror::Error;

use super::format::{
    Definition, FRAME_HEADER_BYTES, Fault, FrameHeader, FrameKind, HEADER_BYTES, Header, Totals,
    check_rows, checksum_fault, split_row,
};
use super::mark::Position;

/// Why a file is not an export that can be believed. Everything before the place is.
#[derive(Debug, Error)]
pub(crate) enum ExportError {
    #[error("at byte {offset}: {source}")]
    Io { offset: u64, source: io::Error },
    #[error("at byte {offset}: the file is cut off: expected {expected} bytes, found {found}")]
    Truncated { offset: u64, expected: usize, found: usize },
    #[error("at byte {offset}: {field}: expected {expected}, found {found}")]
    Damaged { offset: u64, field: &'static str, expected: String, found: String },
}

/// What an export consists of, in this order: a keyspace, its rows, and so on, and the end.
#[derive(Debug)]
pub(crate) enum Frame {
    Keyspace(Definition),
    Rows(FrameRows),
    /// The file is whole; these were counted and agree with what it says.
    Done(Totals),
}

/// Rows of one keyspace, in its order.
#[derive(Debug)]
pub(crate) struct FrameRows {
    payload: Vec<u8>,
}

impl FrameRows {
    /// Keys and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.payload.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (key, value, after) = split_row(rest);
            rest = after;
            Some((key, value))
        })
    }
}

/// Reads an export. Memory: one frame.
pub(crate) struct ExportReader<R> {
    input: R,
    header: Header,
    /// Behind the last frame that was handed out.
    position: Position,
    totals: Totals,
}

impl<R: Read> ExportReader<R> {
    /// Reads the header.
    pub(crate) fn new(mut input: R) -> Result<ExportReader<R>, ExportError> {
        let mut bytes = [0; HEADER_BYTES];
        fill(&mut input, 0, &mut bytes)?;
        let (header, crc) = Header::decode(&bytes).map_err(at(0))?;
        let position = Position { frames: 0, offset: HEADER_BYTES as u64, crc, rows: 0 };
        Ok(ExportReader { input, header, position, totals: Totals::default() })
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The next frame. Not to be called after the end.
    pub(crate) fn next_frame(&mut self) -> Result<Frame, ExportError> {
        let offset = self.position.offset;
        let mut bytes = [0; FRAME_HEADER_BYTES];
        fill(&mut self.input, offset, &mut bytes)?;
        let header = FrameHeader::decode(&bytes).map_err(at(offset))?;
        let payload_at = offset + FRAME_HEADER_BYTES as u64;
        let mut payload = vec![0; header.len_bytes as usize];
        fill(&mut self.input, payload_at, &mut payload)?;
        let crc = header.chained_crc(self.position.crc, &payload);
        if crc != header.crc {
            return Err(at(offset)(checksum_fault(header.crc, crc)));
        }
        let frame = self.decode(&header, payload).map_err(at(payload_at))?;
        self.position = Position {
            frames: self.position.frames + 1,
            offset: payload_at + u64::from(header.len_bytes),
            crc,
            rows: self.totals.rows,
        };
        if matches!(frame, Frame::Done(_)) {
            self.expect_end()?;
        }
        Ok(frame)
    }

    fn decode(&mut self, header: &FrameHeader, payload: Vec<u8>) -> Result<Frame, Fault> {
        match header.kind {
            FrameKind::Keyspace => {
                let definition = Definition::decode(&payload)?;
                self.totals.keyspaces += 1;
                Ok(Frame::Keyspace(definition))
            }
            FrameKind::Rows if self.totals.keyspaces == 0 => {
                Err(("frame kind", "a keyspace first".to_owned(), "rows".to_owned()))
            }
            FrameKind::Rows => {
                check_rows(&payload, header.rows)?;
                let rows = FrameRows { payload };
                rows.iter().for_each(|(key, value)| self.totals.add_row(key, value));
                Ok(Frame::Rows(rows))
            }
            FrameKind::End => {
                self.totals.check(self.position.frames, &payload)?;
                Ok(Frame::Done(self.totals))
            }
        }
    }

    fn expect_end(&mut self) -> Result<(), ExportError> {
        let offset = self.position.offset;
        let mut more = [0; 1];
        match read_up_to(&mut self.input, &mut more) {
            Ok(0) => Ok(()),
            Ok(_) => {
                let (expected, found) = ("the end of the file".to_owned(), "more bytes".to_owned());
                Err(ExportError::Damaged { offset, field: "length", expected, found })
            }
            Err(source) => Err(ExportError::Io { offset, source }),
        }
    }
}

fn at(offset: u64) -> impl FnOnce(Fault) -> ExportError {
    move |(field, expected, found)| ExportError::Damaged { offset, field, expected, found }
}

fn fill(input: &mut impl Read, offset: u64, bytes: &mut [u8]) -> Result<(), ExportError> {
    let expected = bytes.len();
    match read_up_to(input, bytes) {
        Ok(found) if found == expected => Ok(()),
        Ok(found) => Err(ExportError::Truncated { offset, expected, found }),
        Err(source) => Err(ExportError::Io { offset, source }),
    }
}

fn read_up_to(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
