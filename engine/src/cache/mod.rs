//! Immutable pages in memory.
