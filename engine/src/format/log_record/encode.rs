//! Records to bytes.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian as le;

use super::{
    CommitHead, CreateHead, CreateKeyspace, DropBody, LoggedWrite, OP_PUT, OP_TOMBSTONE, OpHead,
    RECORD_ALIGNMENT_BYTES, RECORD_HEADER_BYTES, ROUTING_HASH, ROUTING_RANGE, RecordHeader,
    RecordKind, RecordTooLong, is_record_length, write_bytes,
};
use crate::ids::KeyspaceId;
use crate::limits::{KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, RECORD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::options::Routing;

/// Replaces the content of `buf` by a commit record.
///
/// Keys and values have passed the public interface: panics when one is longer than it allows.
/// Errors: `RecordTooLong`, found before `buf` grows beyond the bound; `buf` is then empty.
pub fn encode_commit<'a>(
    buf: &mut Vec<u8>,
    wall_ms: u64,
    writes: impl IntoIterator<Item = LoggedWrite<'a>>,
) -> Result<(), RecordTooLong> {
    begin(buf);
    let head_at = buf.len();
    let mut head = CommitHead { wall_ms: wall_ms.into(), op_count: 0.into(), token_len: 0.into() };
    buf.extend_from_slice(head.as_bytes());
    let mut op_count = 0_u32;
    for write in writes {
        let value_len = write.value.map_or(0, <[u8]>::len);
        let found = buf.len() + write_bytes(write.key.len(), value_len);
        if found > RECORD_BYTES_MAX {
            buf.clear();
            return Err(RecordTooLong { expected: RECORD_BYTES_MAX, found });
        }
        push_write(buf, &write);
        op_count += 1;
    }
    head.op_count = op_count.into();
    buf[head_at..head_at + size_of::<CommitHead>()].copy_from_slice(head.as_bytes());
    finish(buf, RecordKind::Commit);
    Ok(())
}

/// Replaces the content of `buf` by the creation of a keyspace.
///
/// Panics when name or routing break the bounds that the public interface checks.
pub fn encode_create_keyspace(buf: &mut Vec<u8>, create: &CreateKeyspace<'_>) {
    assert!((1..=KEYSPACE_NAME_BYTES_MAX).contains(&create.name.len()), "name {:?}", create.name);
    let valid = create.routing.validate();
    assert!(valid.is_ok(), "routing was checked before it is logged: {valid:?}");
    let (routing, prefix_len, boundaries) = match &create.routing {
        Routing::Range { boundaries } => (ROUTING_RANGE, 0, boundaries.as_slice()),
        Routing::Hash { prefix_len_bytes, .. } => (ROUTING_HASH, *prefix_len_bytes, &[][..]),
    };
    let tablet_count = u32::try_from(create.routing.tablet_count()).expect("at most 1024");
    let head = CreateHead {
        wall_ms: create.wall_ms.into(),
        keyspace: create.keyspace.as_u32().into(),
        routing,
        reserved: 0,
        prefix_len: prefix_len.into(),
        name_len: u16_len(create.name.as_bytes()),
        reserved2: 0.into(),
        tablet_count: tablet_count.into(),
    };
    begin(buf);
    buf.extend_from_slice(head.as_bytes());
    for boundary in boundaries {
        buf.extend_from_slice(u16_len(boundary).as_bytes());
        buf.extend_from_slice(boundary);
    }
    buf.extend_from_slice(create.name.as_bytes());
    finish(buf, RecordKind::CreateKeyspace);
}

/// Replaces the content of `buf` by the drop of a keyspace.
pub fn encode_drop_keyspace(buf: &mut Vec<u8>, wall_ms: u64, keyspace: KeyspaceId) {
    begin(buf);
    let keyspace = keyspace.as_u32().into();
    let body = DropBody { wall_ms: wall_ms.into(), keyspace, reserved: 0.into() };
    buf.extend_from_slice(body.as_bytes());
    finish(buf, RecordKind::DropKeyspace);
}

fn begin(buf: &mut Vec<u8>) {
    buf.clear();
    buf.resize(RECORD_HEADER_BYTES, 0);
}

fn finish(buf: &mut Vec<u8>, kind: RecordKind) {
    buf.resize(buf.len().next_multiple_of(RECORD_ALIGNMENT_BYTES), 0);
    let length = u32::try_from(buf.len()).expect("RECORD_BYTES_MAX fits u32");
    assert!(is_record_length(length), "record of {length} bytes");
    let kind = kind.number();
    let header = RecordHeader { length: length.into(), kind, flags: 0, reserved: 0.into() };
    buf[..RECORD_HEADER_BYTES].copy_from_slice(header.as_bytes());
}

fn push_write(buf: &mut Vec<u8>, write: &LoggedWrite<'_>) {
    let value = write.value.unwrap_or_default();
    assert!((1..=KEY_BYTES_MAX).contains(&write.key.len()), "key of {} bytes", write.key.len());
    assert!(value.len() <= VALUE_BYTES_MAX, "value of {} bytes", value.len());
    let head = OpHead {
        keyspace: write.keyspace.as_u32().into(),
        key_len: u16_len(write.key),
        op: if write.value.is_some() { OP_PUT } else { OP_TOMBSTONE },
        reserved: 0,
        value_len: u32::try_from(value.len()).expect("at most VALUE_BYTES_MAX").into(),
    };
    buf.extend_from_slice(head.as_bytes());
    buf.extend_from_slice(write.key);
    buf.extend_from_slice(value);
}

fn u16_len(bytes: &[u8]) -> le::U16 {
    u16::try_from(bytes.len()).expect("keys and names are far shorter than 64 KiB").into()
}
