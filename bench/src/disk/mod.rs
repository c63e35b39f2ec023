//! The disk tool: runs fio job files on the runtime and reports as fio does.

pub mod job;
pub mod job_file;
pub mod plan;
pub mod target;
