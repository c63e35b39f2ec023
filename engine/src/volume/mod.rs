//! The data file: extents, pages, space maps, the root table, the data barrier.
