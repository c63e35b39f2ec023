//! First blocks of log segments.

use crate::fuzz::store::{Pieces, Store};
use crate::fuzz::subject::{Decoder, accepted, blanked_crc, plant, scale, seal_at, shape, u32_at};
use sombra::format::BLOCK_SIZE_BYTES;
use sombra::format::segment::{
    SegmentError, SegmentHeader, locate, parse_segment_file_name, segment_file_name,
};

pub(in crate::fuzz) const SEGMENT_CRC_AT: usize = 12;

pub(in crate::fuzz) struct SegmentHeaders;

impl Decoder for SegmentHeaders {
    fn corpus(&self) -> Vec<Vec<u8>> {
        let headers = Pieces::of(Store::get()).segment_headers();
        let blank = vec![0; BLOCK_SIZE_BYTES];
        headers.iter().map(|header| header.bytes.to_vec()).chain([blank]).collect()
    }

    fn seal(&self, input: &mut Vec<u8>) {
        let end = input.len().min(BLOCK_SIZE_BYTES);
        seal_at(&mut input[..end], SEGMENT_CRC_AT);
    }

    fn check(&self, block: &[u8], has_planted: bool) -> u64 {
        let header = match SegmentHeader::decode(block) {
            Ok(header) => header,
            Err(error) => {
                let head = block.get(..BLOCK_SIZE_BYTES);
                let is_blank = head.is_some_and(|head| head.iter().all(|&byte| byte == 0));
                assert_eq!(error == SegmentError::Blank, is_blank, "{error}");
                return shape(&error);
            }
        };
        let crc = blanked_crc(&block[..BLOCK_SIZE_BYTES], SEGMENT_CRC_AT);
        assert_eq!(u32_at(block, SEGMENT_CRC_AT), Some(crc), "accepted with another checksum");
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header), "another after writing it");
        let SegmentHeader { store_id, segment_number: number, segment_bytes: size, .. } = header;
        assert_eq!(header.check_place(store_id, number, size), Ok(()));
        assert!(header.check_place(store_id, number ^ 1, size).is_err());
        assert!(header.check_place(store_id, number, size + 1).is_err());
        let place = locate(header.start_lsn(), size);
        assert_eq!((place.segment_number, place.block_in_segment), (number, 1));
        assert_eq!(parse_segment_file_name(&segment_file_name(number)), Some(number));
        plant(has_planted, header.incarnation.as_u64() > 1 << 60);
        accepted((header.link.is_some(), scale(number), scale(size)))
    }
}
