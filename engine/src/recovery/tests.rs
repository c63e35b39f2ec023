//! Logs made block by block, and what an opening makes of them.

mod cut;
mod evidence;
mod opening;
mod replay;
mod segment_files;
pub(super) mod world;
