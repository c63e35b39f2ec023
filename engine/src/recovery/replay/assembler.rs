//! Records out of blocks: those that span several are put together.
//!
//! Knows where records begin and end. Must never know what a block lies in, nor what a record says.

use crate::error::OpenError;
use crate::format::log_record::{self, RECORD_HEADER_BYTES, RecordError, RecordKind};
use crate::ids::Lsn;

/// Puts records together that span blocks.
pub(crate) struct Assembler {
    /// Start of the next record.
    pub(super) next: Lsn,
    /// End of the last whole record, and where that record begins.
    pub(super) end: Lsn,
    pub(super) last_begin: Lsn,
    /// Replay ends exactly here, whatever lies there.
    limit: Option<Lsn>,
    partial: Vec<u8>,
    partial_len: usize,
    pub(super) refused: Option<(Lsn, RecordError)>,
}

impl Assembler {
    pub(crate) fn new(start: Lsn, limit: Option<Lsn>) -> Assembler {
        // An incarnation that the next link ends before its own start wrote nothing.
        Assembler {
            next: start,
            end: start,
            last_begin: start,
            limit,
            partial: Vec::new(),
            partial_len: 0,
            refused: None,
        }
    }

    /// End of the last whole record.
    pub(crate) fn end(&self) -> Lsn {
        self.end
    }

    /// Whether a record's header made no sense: what follows it cannot be found.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.limit.is_some_and(|limit| self.end >= limit)
    }

    /// Hands every record that this block completes to `visit`, with its end as its LSN. Pads
    /// are passed over: a pad is not a commit, but the position after it is an end.
    pub(crate) fn take(
        &mut self,
        mut payload: &[u8],
        mut visit: impl FnMut(Lsn, &[u8]) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        while !payload.is_empty() && !self.is_complete() {
            if self.partial_len == 0 {
                match log_record::peek(payload) {
                    Ok((_, len)) => self.partial_len = len as usize,
                    Err(error) => {
                        self.refused = Some((self.next, error));
                        return Ok(());
                    }
                }
            }
            let missing = self.partial_len - self.partial.len();
            let (part, rest) = payload.split_at(missing.min(payload.len()));
            payload = rest;
            if part.len() < missing {
                self.partial.extend_from_slice(part);
                return Ok(());
            }
            let lsn = Lsn::new(self.next.as_u64() + self.partial_len as u64);
            if self.partial.is_empty() {
                visit_record(lsn, part, &mut visit)?;
            } else {
                self.partial.extend_from_slice(part);
                let record = std::mem::take(&mut self.partial);
                visit_record(lsn, &record, &mut visit)?;
            }
            self.partial_len = 0;
            self.last_begin = self.next;
            (self.next, self.end) = (lsn, lsn);
        }
        Ok(())
    }
}

fn visit_record(
    lsn: Lsn,
    bytes: &[u8],
    visit: &mut impl FnMut(Lsn, &[u8]) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let is_pad = bytes.len() >= RECORD_HEADER_BYTES
        && log_record::peek(bytes).is_ok_and(|(kind, _)| kind == RecordKind::Pad);
    if is_pad { Ok(()) } else { visit(lsn, bytes) }
}
