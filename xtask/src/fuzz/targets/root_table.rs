//! Pages of the root table.

use crate::fuzz::store::{Pieces, Store};
use crate::fuzz::subject::{
    Decoder, accepted, blanked_crc, id_at, plant, scale, seal_at, shape, u32_at,
};
use sombra::StoreId;
use sombra::format::root_table::{
    ROOT_PAGE_BYTES, RootCopy, RootPage, RootPlace, RootRow, RowRouting,
};
use sombra::limits::ROOT_SLOTS;

pub(in crate::fuzz) const ROOT_CRC_AT: usize = 12;
const STORE_ID_AT: usize = 16;
const SLOT_AT: usize = 40;
const COPY_AT: usize = 44;

pub(in crate::fuzz) struct RootPages;

impl Decoder for RootPages {
    fn corpus(&self) -> Vec<Vec<u8>> {
        let pages = Pieces::of(Store::get()).root_pages();
        let blank = vec![0; ROOT_PAGE_BYTES];
        pages.iter().map(|page| page.bytes.to_vec()).chain([blank]).collect()
    }

    fn seal(&self, input: &mut Vec<u8>) {
        let end = input.len().min(ROOT_PAGE_BYTES);
        seal_at(&mut input[..end], ROOT_CRC_AT);
    }

    fn check(&self, bytes: &[u8], has_planted: bool) -> u64 {
        let store_id = StoreId::from_bytes(id_at(bytes, STORE_ID_AT).unwrap_or_default());
        let place = own_place(bytes);
        let page = match RootPage::decode(bytes, store_id, place) {
            Ok(Some(page)) => page,
            Ok(None) => {
                assert!(bytes[..ROOT_PAGE_BYTES].iter().all(|&byte| byte == 0), "not blank");
                return accepted("blank");
            }
            Err(error) => return shape(&error),
        };
        let crc = blanked_crc(&bytes[..ROOT_PAGE_BYTES], ROOT_CRC_AT);
        assert_eq!(u32_at(bytes, ROOT_CRC_AT), Some(crc), "accepted with another checksum");
        let others = [
            RootPlace { slot: place.slot ^ 1, ..place },
            RootPlace { copy: place.copy.other(), ..place },
        ];
        for other in others {
            assert!(RootPage::decode(bytes, store_id, other).is_err(), "{other:?}");
        }
        let again = page.encode(store_id, place);
        let again = RootPage::decode(&again, store_id, place);
        assert_eq!(again.as_ref(), Ok(&Some(page.clone())), "another page after writing it");
        plant(has_planted, page.generation > 1 << 60);
        accepted(summed_up(&page))
    }
}

/// Where the page says it belongs, if there is such a place.
fn own_place(bytes: &[u8]) -> RootPlace {
    let slot = u32_at(bytes, SLOT_AT).filter(|slot| *slot < ROOT_SLOTS).unwrap_or(0);
    let is_b = bytes.get(COPY_AT) == Some(&2);
    RootPlace { slot, copy: if is_b { RootCopy::B } else { RootCopy::A } }
}

/// Rows by kind, and whether trees, maps and boundaries stand in them.
fn summed_up(page: &RootPage) -> ([u32; 5], u32) {
    let mut kinds = [0; 5];
    for row in &page.rows {
        let kind = match row {
            RootRow::Catalog(_) => 0,
            RootRow::Keyspace(row) => 1 + usize::from(row.routing == RowRouting::Range),
            RootRow::Tablet(row) => 3 + usize::from(row.root.is_some()),
        };
        kinds[kind] += 1;
    }
    (kinds, scale(page.generation))
}
