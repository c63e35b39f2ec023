//! Which of the two superblock copies counts.

use std::fmt;

use thiserror::Error;

use super::{SUPERBLOCK_COPY_BYTES, Superblock, SuperblockError};
use crate::ids::StoreId;

/// One of the two copies in the file `superblock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SuperblockCopy {
    A,
    B,
}

impl SuperblockCopy {
    /// Where its region begins in the file.
    #[must_use]
    pub const fn offset(self) -> u64 {
        match self {
            SuperblockCopy::A => 0,
            SuperblockCopy::B => SUPERBLOCK_COPY_BYTES as u64,
        }
    }

    /// The other copy.
    #[must_use]
    pub const fn twin(self) -> SuperblockCopy {
        match self {
            SuperblockCopy::A => SuperblockCopy::B,
            SuperblockCopy::B => SuperblockCopy::A,
        }
    }
}

impl fmt::Display for SuperblockCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SuperblockCopy::A => "A",
            SuperblockCopy::B => "B",
        })
    }
}

/// State of the copy that was not picked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SuperblockTwin {
    /// Says the same.
    Same,
    /// Valid, from an earlier rewrite: a crash fell between the two writes.
    Older { generation: u64 },
    /// To be reported and rewritten.
    Damaged { error: SuperblockError },
}

/// The copy that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PickedSuperblock {
    pub superblock: Superblock,
    pub copy: SuperblockCopy,
    pub twin: SuperblockTwin,
}

impl PickedSuperblock {
    /// The order in which a rewrite goes over the copies: the one that counts last, and only
    /// after the first is durable, so that a valid copy exists at every moment.
    #[must_use]
    pub fn rewrite_order(&self) -> [SuperblockCopy; 2] {
        [self.copy.twin(), self.copy]
    }
}

/// Why neither copy can be taken.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SuperblockPickError {
    #[error("superblock copy {copy}: {error}")]
    NotForThisBuild { copy: SuperblockCopy, error: SuperblockError },
    #[error("superblock copy A: {a}; superblock copy B: {b}")]
    BothDamaged { a: SuperblockError, b: SuperblockError },
    #[error("superblock copy A is of store {a}, copy B of store {b}: they do not belong together")]
    StoreIds { a: StoreId, b: StoreId },
    #[error("both superblock copies are valid and of generation {generation}, but differ")]
    Differ { generation: u64 },
}

/// Decodes both copies and takes the valid one of the highest generation.
///
/// A copy of an unknown version or feature refuses the store even when its twin is readable.
pub fn pick(a: &[u8], b: &[u8]) -> Result<PickedSuperblock, SuperblockPickError> {
    pick_decoded(Superblock::decode(a), Superblock::decode(b))
}

/// As [`pick`], of copies that were decoded.
pub(crate) fn pick_decoded(
    a: Result<Superblock, SuperblockError>,
    b: Result<Superblock, SuperblockError>,
) -> Result<PickedSuperblock, SuperblockPickError> {
    for (copy, decoded) in [(SuperblockCopy::A, &a), (SuperblockCopy::B, &b)] {
        if let Err(error) = decoded
            && error.is_intact_copy()
        {
            return Err(SuperblockPickError::NotForThisBuild { copy, error: error.clone() });
        }
    }
    match (a, b) {
        (Err(a), Err(b)) => Err(SuperblockPickError::BothDamaged { a, b }),
        (Ok(superblock), Err(error)) => {
            let twin = SuperblockTwin::Damaged { error };
            Ok(PickedSuperblock { superblock, copy: SuperblockCopy::A, twin })
        }
        (Err(error), Ok(superblock)) => {
            let twin = SuperblockTwin::Damaged { error };
            Ok(PickedSuperblock { superblock, copy: SuperblockCopy::B, twin })
        }
        (Ok(a), Ok(b)) => pick_newer(a, b),
    }
}

fn pick_newer(a: Superblock, b: Superblock) -> Result<PickedSuperblock, SuperblockPickError> {
    if a.store_id != b.store_id {
        return Err(SuperblockPickError::StoreIds { a: a.store_id, b: b.store_id });
    }
    if a.generation == b.generation {
        if a != b {
            return Err(SuperblockPickError::Differ { generation: a.generation });
        }
        let twin = SuperblockTwin::Same;
        return Ok(PickedSuperblock { superblock: a, copy: SuperblockCopy::A, twin });
    }
    let (superblock, copy, older) = if a.generation > b.generation {
        (a, SuperblockCopy::A, b)
    } else {
        (b, SuperblockCopy::B, a)
    };
    let twin = SuperblockTwin::Older { generation: older.generation };
    Ok(PickedSuperblock { superblock, copy, twin })
}
