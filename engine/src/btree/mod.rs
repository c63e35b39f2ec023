//! The copy-on-write tree as pure steps: no I/O, no clock, no tasks.
