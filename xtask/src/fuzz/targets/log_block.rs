//! Blocks of the log.

use crate::fuzz::store::{Pieces, Store};
use crate::fuzz::subject::{Decoder, accepted, blanked_crc, id_at, plant, seal_at, shape};
use sombra::format::BLOCK_SIZE_BYTES;
use sombra::format::log_block::{BlockPlace, LogBlockError, verify_block, verify_block_of_store};
use sombra::{Incarnation, Lsn, StoreId};

pub(in crate::fuzz) const BLOCK_CRC_AT: usize = 44;
const BLOCKS_MAX: usize = 48;

pub(in crate::fuzz) struct LogBlocks;

impl Decoder for LogBlocks {
    fn corpus(&self) -> Vec<Vec<u8>> {
        let blocks = Pieces::of(Store::get()).log_blocks();
        let step = blocks.len().div_ceil(BLOCKS_MAX);
        let blank = vec![0; BLOCK_SIZE_BYTES];
        blocks.iter().step_by(step).map(|block| block.bytes.to_vec()).chain([blank]).collect()
    }

    fn seal(&self, input: &mut Vec<u8>) {
        seal_at(input, BLOCK_CRC_AT);
    }

    fn check(&self, block: &[u8], has_planted: bool) -> u64 {
        let store_id = StoreId::from_bytes(id_at(block, 0).unwrap_or_default());
        let valid = match verify_block_of_store(block, store_id) {
            Ok(valid) => valid,
            Err(error) => {
                let is_blank = !block.is_empty() && block.iter().all(|&byte| byte == 0);
                let is_block = block.len() == BLOCK_SIZE_BYTES;
                assert_eq!(error == LogBlockError::Blank, is_blank && is_block, "{error}");
                return shape(&error);
            }
        };
        let crc = blanked_crc(block, BLOCK_CRC_AT).to_le_bytes();
        assert_eq!(block[BLOCK_CRC_AT..BLOCK_CRC_AT + 4], crc, "accepted with another checksum");
        let header = valid.header;
        assert_eq!(valid.payload, &block[block.len() - valid.payload.len()..]);
        let place =
            BlockPlace { store_id, incarnation: header.incarnation, first_lsn: header.first_lsn };
        assert_eq!(verify_block(block, &place), Ok(valid));
        refuse_others(block, &place);
        plant(has_planted, header.incarnation > Incarnation::new(1 << 60));
        let again = [&header.seal(valid.payload)[..], valid.payload].concat();
        assert_eq!(verify_block(&again, &place), Ok(valid), "another block after writing it again");
        accepted((header.used_bytes / 512, header.first_record.map(|first| first / 512)))
    }
}

/// The block is refused at every other place.
fn refuse_others(block: &[u8], place: &BlockPlace) {
    let mut id = *place.store_id.as_bytes();
    id[15] ^= 1;
    let others = [
        BlockPlace { store_id: StoreId::from_bytes(id), ..*place },
        BlockPlace { incarnation: Incarnation::new(!place.incarnation.as_u64()), ..*place },
        BlockPlace { first_lsn: Lsn::new(!place.first_lsn.as_u64()), ..*place },
    ];
    for other in others {
        assert!(verify_block(block, &other).is_err(), "{other:?}");
    }
}
