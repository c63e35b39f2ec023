/// Which chunks of a slab are taken: one bit each, searched next-fit.
pub(super) struct ChunkMap {
    taken: Vec<u64>,
    chunk_count: usize,
    next: usize,
}

impl ChunkMap {
    pub(super) fn new(chunk_count: usize) -> ChunkMap {
        ChunkMap { taken: vec![0; chunk_count.div_ceil(64)], chunk_count, next: 0 }
    }

    fn is_taken(&self, chunk: usize) -> bool {
        self.taken[chunk / 64] >> (chunk % 64) & 1 == 1
    }

    fn set(&mut self, chunk: usize, taken: bool) {
        let bit = 1u64 << (chunk % 64);
        assert_eq!(self.is_taken(chunk), !taken, "a buffer chunk changes hands once");
        self.taken[chunk / 64] ^= bit;
    }

    pub(super) fn take(&mut self, chunks: usize) -> Option<usize> {
        if chunks > self.chunk_count {
            return None;
        }
        let first = self
            .find(self.next, self.chunk_count, chunks)
            .or_else(|| self.find(0, self.chunk_count, chunks))?;
        (first..first + chunks).for_each(|chunk| self.set(chunk, true));
        self.next = first + chunks;
        Some(first)
    }

    /// First run of `chunks` free chunks that lies in `from..to`.
    fn find(&self, from: usize, to: usize, chunks: usize) -> Option<usize> {
        let mut run = 0;
        let mut chunk = from;
        while chunk < to {
            if chunk.is_multiple_of(64) && self.taken[chunk / 64] == u64::MAX {
                run = 0;
                chunk += 64;
                continue;
            }
            run = if self.is_taken(chunk) { 0 } else { run + 1 };
            chunk += 1;
            if run == chunks {
                return Some(chunk - chunks);
            }
        }
        None
    }

    pub(super) fn give_back(&mut self, first: usize, chunks: usize) {
        (first..first + chunks).for_each(|chunk| self.set(chunk, false));
    }
}
