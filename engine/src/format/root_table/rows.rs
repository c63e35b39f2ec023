//! The rows of a root page: catalog, keyspaces, tablets.

use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::RootPageError;
use crate::format::disk_struct;
use crate::format::page::PageRef;
use crate::ids::{KeyspaceId, Lsn, PageAddr, TabletId};
use crate::limits::{
    BOUNDARY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, PREFIX_BYTES_MAX, TABLETS_PER_KEYSPACE_MAX,
};

const KIND_CATALOG: u8 = 1;
const KIND_KEYSPACE: u8 = 2;
const KIND_TABLET: u8 = 3;
const ROUTING_RANGE: u8 = 1;
const ROUTING_HASH: u8 = 2;

disk_struct! {
    /// How far keyspaces are in the root table; at most one row of the table.
    pub(in crate::format) struct CatalogRowBytes [16] {
        | 0 | 1 | kind: u8               | "1" |
        | 1 | 3 | reserved: [u8; 3]      | "written as zero, ignored by readers" |
        | 4 | 4 | last_keyspace: le::U32 | "highest keyspace id ever given, dropped ones included" |
        | 8 | 8 | catalog_lsn: le::U64   |
            "creations and drops of keyspaces at or below it are in the table" |
    }
}

disk_struct! {
    /// One keyspace; its name follows. Boundaries stand in the rows of its tablets.
    pub(in crate::format) struct KeyspaceRowBytes [32] {
        |  0 | 1 | kind: u8              | "2" |
        |  1 | 1 | routing: u8           | "1 by the key, 2 by the hash of its prefix" |
        |  2 | 2 | prefix_len: le::U16   | "bytes of the key that are hashed; 0 by the key" |
        |  4 | 4 | keyspace: le::U32     | "the keyspace's id" |
        |  8 | 4 | tablet_count: le::U32 | "its tablets, 1 to 1024" |
        | 12 | 2 | name_len: le::U16     | "bytes of its name that follow, UTF-8, 1 to 255" |
        | 14 | 2 | reserved: le::U16     | "written as zero, ignored by readers" |
        | 16 | 8 | created_lsn: le::U64  | "LSN of its creation" |
        | 24 | 8 | reserved2: le::U64    | "written as zero, ignored by readers" |
    }
}

disk_struct! {
    /// One tablet; its lower boundary follows.
    pub(in crate::format) struct TabletRowBytes [80] {
        |  0 | 1 | kind: u8              | "3" |
        |  1 | 1 | root_level: u8        | "level of the root page, 0 = it is a leaf" |
        |  2 | 2 | boundary_len: le::U16 |
            "bytes of the lower boundary that follow, at most 1032; 0 when it has none" |
        |  4 | 4 | keyspace: le::U32     | "keyspace of the tablet" |
        |  8 | 4 | tablet: le::U32       | "index of the tablet in its keyspace, below 1024" |
        | 12 | 4 | root_crc: le::U32     | "CRC-32C that the root page must have" |
        | 16 | 8 | merge_lsn: le::U64    | "every commit at or below it is in the tree" |
        | 24 | 8 | tree_lsn: le::U64     |
            "no commit above it is in the tree; `merge_lsn` or more" |
        | 32 | 8 | root_addr: le::U64    | "number of the root page, 0 = the tree is empty" |
        | 40 | 8 | row_count: le::U64    | "rows in the tree" |
        | 48 | 8 | map_addr: le::U64     | "first page of the space map, 0 = no page is in use" |
        | 56 | 4 | map_crc: le::U32      | "CRC-32C that this page must have" |
        | 60 | 4 | map_pages: le::U32    | "pages of the space map" |
        | 64 | 8 | live_pages: le::U64   | "pages in use, those of the space map included" |
        | 72 | 8 | reserved: le::U64     | "written as zero, ignored by readers" |
    }
}

/// How far keyspaces are in the root table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CatalogRow {
    pub last_keyspace: KeyspaceId,
    pub catalog_lsn: Lsn,
}

/// How a keyspace routes; boundaries stand with the tablets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowRouting {
    Range,
    Hash { prefix_len_bytes: u16 },
}

/// What a keyspace is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyspaceRow {
    pub id: KeyspaceId,
    pub name: String,
    pub routing: RowRouting,
    pub tablet_count: u32,
    pub created_lsn: Lsn,
}

/// Where a tablet's space map begins, and what it must say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TabletSpace {
    pub map: PageRef,
    pub map_pages: u32,
    /// Pages in use, those of the map included.
    pub live_pages: u64,
}

/// Where a tablet's tree begins, and what it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TabletRow {
    pub id: TabletId,
    /// Empty for a keyspace's first tablet, and where the routing says the boundary.
    pub lower_boundary: Vec<u8>,
    /// Every commit at or below it is in the tree.
    pub merge_lsn: Lsn,
    /// No commit above it is in the tree; at least `merge_lsn`. Above it while only a part of
    /// a merge is published.
    pub tree_lsn: Lsn,
    pub root: Option<PageRef>,
    pub root_level: u8,
    pub row_count: u64,
    /// Present whenever a page is in use.
    pub space: Option<TabletSpace>,
}

/// One row of the root table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootRow {
    Catalog(CatalogRow),
    Keyspace(KeyspaceRow),
    Tablet(TabletRow),
}

/// What a row is about; rows are ordered by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RowKey {
    Catalog,
    Keyspace(KeyspaceId),
    Tablet(TabletId),
}

/// A field that breaks its rule: name, expected, found.
type Fault = (&'static str, String, u64);

impl RootRow {
    #[must_use]
    pub fn key(&self) -> RowKey {
        match self {
            RootRow::Catalog(_) => RowKey::Catalog,
            RootRow::Keyspace(row) => RowKey::Keyspace(row.id),
            RootRow::Tablet(row) => RowKey::Tablet(row.id),
        }
    }

    /// Bytes that the row takes in its page; the same for the row's whole life.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            RootRow::Catalog(_) => size_of::<CatalogRowBytes>(),
            RootRow::Keyspace(row) => size_of::<KeyspaceRowBytes>() + row.name.len(),
            RootRow::Tablet(row) => size_of::<TabletRowBytes>() + row.lower_boundary.len(),
        }
    }

    /// The first field that breaks its rule.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            RootRow::Catalog(_) => None,
            RootRow::Keyspace(row) => row.fault(),
            RootRow::Tablet(row) => row.fault(),
        }
    }

    pub(super) fn encode(&self, bytes: &mut [u8]) {
        match self {
            RootRow::Catalog(row) => {
                let head = CatalogRowBytes {
                    kind: KIND_CATALOG,
                    reserved: [0; 3],
                    last_keyspace: row.last_keyspace.as_u32().into(),
                    catalog_lsn: row.catalog_lsn.as_u64().into(),
                };
                bytes.copy_from_slice(head.as_bytes());
            }
            RootRow::Keyspace(row) => place(bytes, row.head().as_bytes(), row.name.as_bytes()),
            RootRow::Tablet(row) => place(bytes, row.head().as_bytes(), &row.lower_boundary),
        }
    }

    /// Reads the row that `bytes` begin with; returns what follows it.
    pub(super) fn decode(bytes: &[u8], index: usize) -> Result<(RootRow, &[u8]), RootPageError> {
        let fail = |(field, expected, found)| RootPageError::Row { index, field, expected, found };
        let (row, rest) = match bytes.first() {
            Some(&KIND_CATALOG) => {
                let (head, rest) = take::<CatalogRowBytes>(bytes).map_err(fail)?;
                let last_keyspace = KeyspaceId::new(head.last_keyspace.get());
                let catalog_lsn = Lsn::new(head.catalog_lsn.get());
                (RootRow::Catalog(CatalogRow { last_keyspace, catalog_lsn }), rest)
            }
            Some(&KIND_KEYSPACE) => KeyspaceRow::decode(bytes).map_err(fail)?,
            Some(&KIND_TABLET) => TabletRow::decode(bytes).map_err(fail)?,
            Some(&kind) => return Err(fail(("kind", "1 to 3".to_owned(), kind.into()))),
            None => return Err(fail(("kind", "a row".to_owned(), 0))),
        };
        match row.fault() {
            Some(fault) => Err(fail(fault)),
            None => Ok((row, rest)),
        }
    }
}

impl KeyspaceRow {
    fn fault(&self) -> Option<Fault> {
        let name_len = self.name.len();
        if name_len == 0 || name_len > KEYSPACE_NAME_BYTES_MAX {
            return fault("name_len", format!("1 to {KEYSPACE_NAME_BYTES_MAX}"), name_len as u64);
        }
        if self.tablet_count == 0 || self.tablet_count as usize > TABLETS_PER_KEYSPACE_MAX {
            let expected = format!("1 to {TABLETS_PER_KEYSPACE_MAX}");
            return fault("tablet_count", expected, self.tablet_count.into());
        }
        match self.routing {
            RowRouting::Hash { prefix_len_bytes: length }
                if length == 0 || usize::from(length) > PREFIX_BYTES_MAX =>
            {
                fault("prefix_len", format!("1 to {PREFIX_BYTES_MAX}"), length.into())
            }
            _ => None,
        }
    }

    fn head(&self) -> KeyspaceRowBytes {
        let (routing, prefix_len) = match self.routing {
            RowRouting::Range => (ROUTING_RANGE, 0),
            RowRouting::Hash { prefix_len_bytes } => (ROUTING_HASH, prefix_len_bytes),
        };
        KeyspaceRowBytes {
            kind: KIND_KEYSPACE,
            routing,
            prefix_len: prefix_len.into(),
            keyspace: self.id.as_u32().into(),
            tablet_count: self.tablet_count.into(),
            name_len: (self.name.len() as u16).into(),
            reserved: 0.into(),
            created_lsn: self.created_lsn.as_u64().into(),
            reserved2: 0.into(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<(RootRow, &[u8]), Fault> {
        let (head, rest) = take::<KeyspaceRowBytes>(bytes)?;
        let (name, rest) = take_bytes(rest, "name_len", head.name_len.get())?;
        let name = std::str::from_utf8(name)
            .map_err(|error| ("name", "UTF-8".to_owned(), error.valid_up_to() as u64))?;
        let prefix_len_bytes = head.prefix_len.get();
        let routing = match (head.routing, prefix_len_bytes) {
            (ROUTING_RANGE, 0) => RowRouting::Range,
            (ROUTING_RANGE, found) => {
                return Err(("prefix_len", "0".to_owned(), found.into()));
            }
            (ROUTING_HASH, _) => RowRouting::Hash { prefix_len_bytes },
            (found, _) => return Err(("routing", "1 or 2".to_owned(), found.into())),
        };
        let row = KeyspaceRow {
            id: KeyspaceId::new(head.keyspace.get()),
            name: name.to_owned(),
            routing,
            tablet_count: head.tablet_count.get(),
            created_lsn: Lsn::new(head.created_lsn.get()),
        };
        Ok((RootRow::Keyspace(row), rest))
    }
}

impl TabletRow {
    fn fault(&self) -> Option<Fault> {
        if self.id.index as usize >= TABLETS_PER_KEYSPACE_MAX {
            let expected = format!("below {TABLETS_PER_KEYSPACE_MAX}");
            return fault("tablet", expected, self.id.index.into());
        }
        let boundary_len = self.lower_boundary.len();
        if boundary_len > BOUNDARY_BYTES_MAX {
            let expected = format!("at most {BOUNDARY_BYTES_MAX}");
            return fault("boundary_len", expected, boundary_len as u64);
        }
        if self.tree_lsn < self.merge_lsn {
            let expected = format!("{} or more", self.merge_lsn);
            return fault("tree_lsn", expected, self.tree_lsn.as_u64());
        }
        match self.root {
            None if self.root_level != 0 => {
                return fault("root_level", "0 without a root".to_owned(), self.root_level.into());
            }
            None if self.row_count != 0 => {
                return fault("row_count", "0 without a root".to_owned(), self.row_count);
            }
            Some(root) if root.addr.as_u64() == 0 => {
                return fault("root_addr", "a page number above 0".to_owned(), 0);
            }
            Some(_) if self.space.is_none() => {
                return fault("map_addr", "a page number beside a root".to_owned(), 0);
            }
            _ => {}
        }
        let space = self.space?;
        if space.map.addr.as_u64() == 0 {
            return fault("map_addr", "a page number above 0".to_owned(), 0);
        }
        if space.map_pages == 0 {
            return fault("map_pages", "1 or more beside a space map".to_owned(), 0);
        }
        let least = u64::from(space.map_pages) + u64::from(self.root.is_some());
        if space.live_pages < least {
            return fault("live_pages", format!("{least} or more"), space.live_pages);
        }
        None
    }

    fn head(&self) -> TabletRowBytes {
        let addr_and_crc =
            |page: Option<PageRef>| page.map_or((0, 0), |page| (page.addr.as_u64(), page.crc));
        let (root_addr, root_crc) = addr_and_crc(self.root);
        let (map_addr, map_crc) = addr_and_crc(self.space.map(|space| space.map));
        TabletRowBytes {
            kind: KIND_TABLET,
            root_level: self.root_level,
            boundary_len: (self.lower_boundary.len() as u16).into(),
            keyspace: self.id.keyspace.as_u32().into(),
            tablet: self.id.index.into(),
            root_crc: root_crc.into(),
            merge_lsn: self.merge_lsn.as_u64().into(),
            tree_lsn: self.tree_lsn.as_u64().into(),
            root_addr: root_addr.into(),
            row_count: self.row_count.into(),
            map_addr: map_addr.into(),
            map_crc: map_crc.into(),
            map_pages: self.space.map_or(0, |space| space.map_pages).into(),
            live_pages: self.space.map_or(0, |space| space.live_pages).into(),
            reserved: 0.into(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<(RootRow, &[u8]), Fault> {
        let (head, rest) = take::<TabletRowBytes>(bytes)?;
        let (boundary, rest) = take_bytes(rest, "boundary_len", head.boundary_len.get())?;
        let root = page_ref("root_crc", head.root_addr.get(), head.root_crc.get())?;
        let map = page_ref("map_crc", head.map_addr.get(), head.map_crc.get())?;
        let (map_pages, live_pages) = (head.map_pages.get(), head.live_pages.get());
        if map.is_none() && map_pages != 0 {
            return Err(("map_pages", "0 without a space map".to_owned(), map_pages.into()));
        }
        if map.is_none() && live_pages != 0 {
            return Err(("live_pages", "0 without a space map".to_owned(), live_pages));
        }
        let keyspace = KeyspaceId::new(head.keyspace.get());
        let row = TabletRow {
            id: TabletId { keyspace, index: head.tablet.get() },
            lower_boundary: boundary.to_vec(),
            merge_lsn: Lsn::new(head.merge_lsn.get()),
            tree_lsn: Lsn::new(head.tree_lsn.get()),
            root,
            root_level: head.root_level,
            row_count: head.row_count.get(),
            space: map.map(|map| TabletSpace { map, map_pages, live_pages }),
        };
        Ok((RootRow::Tablet(row), rest))
    }
}

fn fault(field: &'static str, expected: String, found: u64) -> Option<Fault> {
    Some((field, expected, found))
}

fn place(bytes: &mut [u8], head: &[u8], tail: &[u8]) {
    let (head_room, tail_room) = bytes.split_at_mut(head.len());
    head_room.copy_from_slice(head);
    tail_room.copy_from_slice(tail);
}

fn take<T>(bytes: &[u8]) -> Result<(&T, &[u8]), Fault>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    let cut = || ("length", format!("{} bytes", size_of::<T>()), bytes.len() as u64);
    T::ref_from_prefix(bytes).map_err(|_| cut())
}

fn take_bytes<'a>(
    bytes: &'a [u8],
    field: &'static str,
    length: u16,
) -> Result<(&'a [u8], &'a [u8]), Fault> {
    let most = || (field, format!("at most the {} bytes left", bytes.len()), length.into());
    bytes.split_at_checked(usize::from(length)).ok_or_else(most)
}

fn page_ref(crc_field: &'static str, addr: u64, crc: u32) -> Result<Option<PageRef>, Fault> {
    match (addr, crc) {
        (0, 0) => Ok(None),
        (0, found) => Err((crc_field, "0 without a page".to_owned(), found.into())),
        (addr, crc) => Ok(Some(PageRef { addr: PageAddr::new(addr), crc })),
    }
}
