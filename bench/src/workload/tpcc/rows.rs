//! What the rows hold. All numbers are little-endian, money is in cents, taxes and discounts are
//! in hundredths of a per cent. The benchmark's own format: it may change with it.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A row of fixed length without padding.
pub(super) trait Row: FromBytes + IntoBytes + Immutable + KnownLayout {}

/// The longest row.
pub const ROW_BYTES_MAX: usize = size_of::<Customer>();

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Warehouse {
    pub(super) ytd_cents: U64,
    pub(super) tax: U32,
    pub(super) filler: [u8; 52],
}

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct District {
    pub(super) ytd_cents: U64,
    pub(super) tax: U32,
    pub(super) next_order: U32,
    pub(super) filler: [u8; 48],
}

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Customer {
    pub(super) balance_cents: I64,
    pub(super) paid_cents: U64,
    pub(super) payments: U32,
    pub(super) discount: U32,
    pub(super) filler: [u8; 104],
}

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct History {
    pub(super) warehouse: U32,
    pub(super) district: U32,
    pub(super) customer: U32,
    pub(super) reserved: U32,
    pub(super) amount_cents: U64,
}

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Order {
    pub(super) customer: U32,
    pub(super) lines: U32,
    /// 1 when every line is supplied by the order's own warehouse.
    pub(super) is_all_local: U32,
    /// Zero until somebody delivers the order.
    pub(super) carrier: U32,
}

/// That the row is there says that the order was not delivered.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Undelivered {
    pub(super) reserved: U32,
}

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Line {
    pub(super) item: U32,
    pub(super) supply_warehouse: U32,
    pub(super) quantity: U32,
    pub(super) reserved: U32,
    pub(super) amount_cents: U64,
    pub(super) filler: [u8; 24],
}

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Stock {
    pub(super) quantity: U32,
    pub(super) orders: U32,
    pub(super) remote_orders: U32,
    pub(super) reserved: U32,
    pub(super) ytd: U64,
    pub(super) filler: [u8; 72],
}

impl Row for Warehouse {}
impl Row for District {}
impl Row for Customer {}
impl Row for History {}
impl Row for Order {}
impl Row for Undelivered {}
impl Row for Line {}
impl Row for Stock {}

const _: () = assert!(size_of::<Warehouse>() == 64 && size_of::<District>() == 64);
const _: () = assert!(size_of::<Customer>() == 128 && size_of::<Stock>() == 96);
const _: () = assert!(size_of::<History>() == 24 && size_of::<Order>() == 16);
const _: () = assert!(size_of::<Line>() == 48 && size_of::<Undelivered>() == 4);
