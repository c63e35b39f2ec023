//! Writes an export frame by frame.

use std::io::{self, Write};

use super::format::{
    Definition, FRAME_HEADER_BYTES, FRAME_ROWS_BYTES, FRAME_ROWS_MAX, FrameHeader, FrameKind,
    Header, ROW_HEADER_BYTES, Totals,
};

/// Writes an export. Memory: one frame.
pub(crate) struct ExportWriter<W> {
    out: W,
    /// Rows that are not yet in a frame.
    payload: Vec<u8>,
    rows: u32,
    /// Checksum of the frame before.
    crc: u32,
    frames: u64,
    bytes: u64,
    totals: Totals,
}

impl<W: Write> ExportWriter<W> {
    pub(crate) fn new(mut out: W, header: &Header) -> io::Result<ExportWriter<W>> {
        let (bytes, crc) = header.encode();
        out.write_all(&bytes)?;
        Ok(ExportWriter {
            out,
            payload: Vec::new(),
            rows: 0,
            crc,
            frames: 0,
            bytes: bytes.len() as u64,
            totals: Totals::default(),
        })
    }

    /// The rows that follow are this keyspace's.
    pub(crate) fn begin_keyspace(&mut self, definition: &Definition) -> io::Result<()> {
        self.write_rows()?;
        self.totals.keyspaces += 1;
        self.write_frame(FrameKind::Keyspace, 0, &definition.encode())
    }

    /// Adds a row behind the ones before it, in the keyspace's order.
    pub(crate) fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let row_bytes = ROW_HEADER_BYTES + key.len() + value.len();
        let is_full = self.payload.len() + row_bytes > FRAME_ROWS_BYTES;
        if is_full || self.rows == FRAME_ROWS_MAX {
            self.write_rows()?;
        }
        self.payload.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.payload.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.payload.extend_from_slice(key);
        self.payload.extend_from_slice(value);
        self.rows += 1;
        self.totals.add_row(key, value);
        Ok(())
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the end; gives back the output, what the file holds, and its length.
    pub(crate) fn finish(mut self) -> io::Result<(W, Totals, u64)> {
        self.write_rows()?;
        let end = self.totals.encode(self.frames);
        self.write_frame(FrameKind::End, 0, &end)?;
        self.out.flush()?;
        Ok((self.out, self.totals, self.bytes))
    }

    fn write_rows(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut payload = std::mem::take(&mut self.payload);
        let rows = std::mem::take(&mut self.rows);
        self.write_frame(FrameKind::Rows, rows, &payload)?;
        // One large value must not keep its memory for the rest of the export.
        payload.clear();
        payload.shrink_to(FRAME_ROWS_BYTES);
        self.payload = payload;
        Ok(())
    }

    fn write_frame(&mut self, kind: FrameKind, rows: u32, payload: &[u8]) -> io::Result<()> {
        let header = FrameHeader::new(kind, rows, self.crc, payload);
        self.out.write_all(&header.encode())?;
        self.out.write_all(payload)?;
        self.crc = header.crc;
        self.frames += 1;
        self.bytes += (FRAME_HEADER_BYTES + payload.len()) as u64;
        Ok(())
    }
}
