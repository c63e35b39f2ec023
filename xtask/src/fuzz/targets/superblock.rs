//! Superblocks: two copies in one input, half of its bytes each.

use crate::fuzz::store::Store;
use crate::fuzz::subject::{Decoder, accepted, blanked_crc, plant, scale, seal_at, shape, u32_at};
use sombra::format::superblock::{
    Superblock, SuperblockCopy, SuperblockPickError, SuperblockTwin, pick,
};

pub(in crate::fuzz) const SUPERBLOCK_CRC_AT: usize = 12;
const USED_BYTES_AT: usize = 16;

pub(in crate::fuzz) struct Superblocks;

impl Decoder for Superblocks {
    fn corpus(&self) -> Vec<Vec<u8>> {
        let [a, b] =
            [SuperblockCopy::A, SuperblockCopy::B].map(|copy| Store::get().superblock(copy));
        let newer = Superblock::decode(a).expect("the store is sound");
        let generation = newer.generation + 1;
        let newer = Superblock { generation, links: Vec::new(), ..newer }.encode();
        let torn = vec![0x5A; a.len()];
        let pairs = [(a, b), (a, &newer), (&newer, b), (a, &torn), (&torn, b)];
        pairs.map(|(a, b)| [a, b].concat()).to_vec()
    }

    fn seal(&self, input: &mut Vec<u8>) {
        let middle = input.len() / 2;
        let (a, b) = input.split_at_mut(middle);
        seal_copy(a);
        seal_copy(b);
    }

    fn check(&self, input: &[u8], has_planted: bool) -> u64 {
        let (a, b) = input.split_at(input.len() / 2);
        let copies = [a, b].map(|copy| {
            let decoded = Superblock::decode(copy);
            if let Ok(superblock) = &decoded {
                check_copy(copy, superblock);
            }
            decoded
        });
        let picked = match pick(a, b) {
            Ok(picked) => picked,
            Err(error) => {
                check_refusal(&copies, &error);
                return shape(&error);
            }
        };
        let index = usize::from(picked.copy == SuperblockCopy::B);
        assert_eq!(copies[index].as_ref(), Ok(&picked.superblock), "not the copy that was picked");
        let generation = picked.superblock.generation;
        match (&copies[1 - index], &picked.twin) {
            (Ok(other), SuperblockTwin::Same) => assert_eq!(other, &picked.superblock),
            (Ok(other), SuperblockTwin::Older { generation: older }) => {
                assert!(other.generation == *older && *older < generation);
                assert_eq!(other.store_id, picked.superblock.store_id);
            }
            (Err(error), SuperblockTwin::Damaged { error: told }) => {
                assert!(error == told && !error.is_intact_copy(), "{error}");
            }
            (other, twin) => panic!("{other:?} is called {twin:?}"),
        }
        plant(has_planted, generation > 1 << 60 && picked.superblock.optional_features != 0);
        let links = scale(picked.superblock.links.len() as u64);
        accepted((shape(&picked.twin), index, links, scale(generation)))
    }
}

/// What is refused has a reason in the copies.
fn check_refusal(
    copies: &[Result<Superblock, sombra::format::SuperblockError>; 2],
    error: &SuperblockPickError,
) {
    let valid = copies.iter().flatten().count();
    match error {
        SuperblockPickError::NotForThisBuild { error, .. } => assert!(error.is_intact_copy()),
        SuperblockPickError::BothDamaged { .. } => assert_eq!(valid, 0),
        SuperblockPickError::StoreIds { a, b } => assert!(a != b && valid == 2),
        SuperblockPickError::Differ { .. } => {
            assert!(valid == 2 && copies[0] != copies[1]);
        }
    }
}

/// An accepted copy has its checksum, and says the same once it is written again.
fn check_copy(copy: &[u8], superblock: &Superblock) {
    let used = u32_at(copy, USED_BYTES_AT).expect("a decoded copy has a head") as usize;
    let crc = blanked_crc(&copy[..used], SUPERBLOCK_CRC_AT);
    assert_eq!(u32_at(copy, SUPERBLOCK_CRC_AT), Some(crc), "accepted with another checksum");
    let again = superblock.encode();
    assert_eq!(Superblock::decode(&again).as_ref(), Ok(superblock), "another one after writing it");
}

pub(in crate::fuzz) fn seal_copy(copy: &mut [u8]) {
    let Some(used) = u32_at(copy, USED_BYTES_AT) else { return };
    let used = (used as usize).min(copy.len());
    seal_at(&mut copy[..used], SUPERBLOCK_CRC_AT);
}
