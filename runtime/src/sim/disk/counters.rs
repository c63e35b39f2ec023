//! What a simulated disk did and what went wrong on it: a number for each.

/// Declares the counters once: the struct, its names and its sum cannot drift apart.
macro_rules! counters {
    ($($(#[$what:meta])* $name:ident,)+) => {
        /// Since the disk was made, over all worlds that used it.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct SimDiskCounters {
            $($(#[$what])* pub $name: u64,)+
        }

        impl SimDiskCounters {
            /// Every counter with its name, in the order of their declaration.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }

        impl std::ops::AddAssign for SimDiskCounters {
            fn add_assign(&mut self, other: SimDiskCounters) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    reads,
    writes,
    dsync_writes,
    trims,
    flushes,
    path_ops,
    bytes_read,
    bytes_written,
    /// Operations of every kind whose end was given out; the dead hear of none.
    completions,
    /// Planned faults that met their operation, of whichever kind.
    faults,
    /// Planned errors that an operation answered with, by `DiskOp`.
    read_errors,
    write_errors,
    flush_errors,
    path_errors,
    /// Operations that ended in ENOSPC, planned or because the disk was full.
    no_space,
    short_reads,
    short_writes,
    lost_writes,
    misdirected_writes,
    misdirected_reads,
    /// Reads that gave other bytes than the present ones; with nothing older to give it is none.
    stale_reads,
    slow_ops,
    stuck_ops,
    kills,
    cuts,
    /// Cuts of a world that had operations between submission and completion.
    cuts_in_flight,
    /// Sectors that cuts had to decide, each counted once per write to it.
    sectors_kept,
    sectors_lost,
    /// New bytes up to somewhere inside the sector, old ones from there on.
    sectors_torn,
    /// Noise in the whole sector, or from somewhere inside it on.
    sectors_garbage,
    /// Damage at rest, by `Corruption`.
    flipped_bits,
    zeroed_bytes,
    garbage_bytes,
    replaced_bytes,
    clock_jumps_forwards,
    clock_jumps_backwards,
}
