//! Bytes to records; nothing in them is believed before it is checked.

use zerocopy::byteorder::little_endian as le;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{
    Commit, CommitHead, CreateHead, CreateKeyspace, DropBody, LoggedWrite, LoggedWrites, OP_PUT,
    OP_TOMBSTONE, OpHead, RECORD_ALIGNMENT_BYTES, RECORD_HEADER_BYTES, ROUTING_HASH, ROUTING_RANGE,
    Record, RecordError, RecordKind, peek,
};
use crate::ids::KeyspaceId;
use crate::limits::{
    KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, TABLETS_PER_KEYSPACE_MAX, VALUE_BYTES_MAX,
};
use crate::options::Routing;

/// Reads one whole record; `bytes` is as long as its header says.
///
/// Every length is checked before it is used, those of a commit's writes too. Cost: one pass over
/// the heads of the writes (a pad: over all bytes); nothing is copied but keyspace boundaries.
pub fn decode_record(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    let (kind, length) = peek(bytes)?;
    let expected = length as usize;
    if bytes.len() != expected {
        return Err(RecordError::Truncated { expected, found: bytes.len() });
    }
    let body = Body { rest: &bytes[RECORD_HEADER_BYTES..] };
    match kind {
        RecordKind::Pad => match body.rest.iter().position(|&byte| byte != 0) {
            Some(at) => Err(RecordError::PadNotZero { offset: RECORD_HEADER_BYTES + at }),
            None => Ok(Record::Pad),
        },
        RecordKind::Commit => decode_commit(body).map(Record::Commit),
        RecordKind::CreateKeyspace => decode_create(body).map(Record::CreateKeyspace),
        RecordKind::DropKeyspace => decode_drop(body),
    }
}

/// What is left of a record's body.
struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    fn take(&mut self, part: &'static str, len: usize) -> Result<&'a [u8], RecordError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(RecordError::Overrun { part, expected: len, found: self.rest.len() });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn head<T>(&mut self, part: &'static str) -> Result<&'a T, RecordError>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        let bytes = self.take(part, size_of::<T>())?;
        Ok(T::ref_from_bytes(bytes).expect("as many bytes as the head has, of any alignment"))
    }

    /// Takes one write of a commit.
    fn write(&mut self) -> Result<LoggedWrite<'a>, RecordError> {
        let head: &OpHead = self.head("head of a write")?;
        let (key_len, value_len) = (usize::from(head.key_len.get()), head.value_len.get() as usize);
        check((1..=KEY_BYTES_MAX).contains(&key_len), "key length", "1 to 1024", key_len)?;
        check(value_len <= VALUE_BYTES_MAX, "value length", "at most 16 MiB", value_len)?;
        check(head.reserved == 0, "reserved field of a write", "0", head.reserved.into())?;
        let key = self.take("key", key_len)?;
        let value = self.take("value", value_len)?;
        let value = match head.op {
            OP_PUT => Some(value),
            OP_TOMBSTONE => {
                check(value_len == 0, "value length of a tombstone", "0", value_len)?;
                None
            }
            op => return Err(field("kind of a write", "1 or 2", op.into())),
        };
        Ok(LoggedWrite { keyspace: KeyspaceId::new(head.keyspace.get()), key, value })
    }

    /// Nothing but the padding to the next multiple of 8 may be left.
    fn end(&self) -> Result<(), RecordError> {
        let left = self.rest.len();
        let is_padding = left < RECORD_ALIGNMENT_BYTES && self.rest.iter().all(|&byte| byte == 0);
        if is_padding { Ok(()) } else { Err(RecordError::Tail { left }) }
    }
}

fn field(field: &'static str, expected: &'static str, found: usize) -> RecordError {
    RecordError::Field { field, expected, found: found as u64 }
}

fn check(
    holds: bool,
    name: &'static str,
    expected: &'static str,
    found: usize,
) -> Result<(), RecordError> {
    if holds { Ok(()) } else { Err(field(name, expected, found)) }
}

fn decode_commit(mut body: Body<'_>) -> Result<Commit<'_>, RecordError> {
    let head: &CommitHead = body.head("head of a commit")?;
    let token_len = head.token_len.get() as usize;
    check(token_len == 0, "length of the idempotency token", "0", token_len)?;
    let left = head.op_count.get() as usize;
    let writes = LoggedWrites { left, bytes: body.rest };
    // A lying count ends at the first write that does not fit: each takes at least its head.
    for _ in 0..left {
        body.write()?;
    }
    body.end()?;
    Ok(Commit { wall_ms: head.wall_ms.get(), writes })
}

fn decode_create(mut body: Body<'_>) -> Result<CreateKeyspace<'_>, RecordError> {
    let head: &CreateHead = body.head("head of a keyspace creation")?;
    let name_len = usize::from(head.name_len.get());
    let name_fits = (1..=KEYSPACE_NAME_BYTES_MAX).contains(&name_len);
    check(name_fits, "length of the keyspace name", "1 to 255", name_len)?;
    let reserved = usize::from(head.reserved) | usize::from(head.reserved2.get());
    check(reserved == 0, "reserved fields of a keyspace creation", "0", reserved)?;
    let tablet_count = head.tablet_count.get() as usize;
    let count_fits = (1..=TABLETS_PER_KEYSPACE_MAX).contains(&tablet_count);
    check(count_fits, "number of tablets", "1 to 1024", tablet_count)?;
    let routing = match head.routing {
        ROUTING_RANGE => {
            let prefix_len = usize::from(head.prefix_len.get());
            check(prefix_len == 0, "prefix length of range routing", "0", prefix_len)?;
            Routing::Range { boundaries: decode_boundaries(&mut body, tablet_count - 1)? }
        }
        ROUTING_HASH => {
            let (prefix_len_bytes, tablets) = (head.prefix_len.get(), head.tablet_count.get());
            Routing::Hash { prefix_len_bytes, tablets }
        }
        other => return Err(field("kind of routing", "1 or 2", other.into())),
    };
    routing.validate().map_err(|source| RecordError::Routing { source })?;
    let name = body.take("keyspace name", name_len)?;
    let name = std::str::from_utf8(name).map_err(|_| RecordError::NameNotUtf8)?;
    body.end()?;
    let keyspace = KeyspaceId::new(head.keyspace.get());
    Ok(CreateKeyspace { wall_ms: head.wall_ms.get(), keyspace, name, routing })
}

fn decode_boundaries(body: &mut Body<'_>, count: usize) -> Result<Vec<Vec<u8>>, RecordError> {
    let mut boundaries = Vec::with_capacity(count);
    for _ in 0..count {
        let len: &le::U16 = body.head("length of a tablet boundary")?;
        boundaries.push(body.take("tablet boundary", usize::from(len.get()))?.to_vec());
    }
    Ok(boundaries)
}

fn decode_drop(mut body: Body<'_>) -> Result<Record<'_>, RecordError> {
    let head: &DropBody = body.head("body of a keyspace drop")?;
    let reserved = head.reserved.get() as usize;
    check(reserved == 0, "reserved field of a keyspace drop", "0", reserved)?;
    body.end()?;
    let keyspace = KeyspaceId::new(head.keyspace.get());
    Ok(Record::DropKeyspace { wall_ms: head.wall_ms.get(), keyspace })
}

impl<'a> Iterator for LoggedWrites<'a> {
    type Item = LoggedWrite<'a>;

    fn next(&mut self) -> Option<LoggedWrite<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut body = Body { rest: self.bytes };
        let write = body.write().expect("INV-6: every write was checked when it was decoded");
        self.bytes = body.rest;
        Some(write)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for LoggedWrites<'_> {}
