use std::io::Write;

use serde::Serialize;
use sombra::format::FORMAT_VERSION;
use sombra::format::superblock::{FEATURE_DATA_FILE, Superblock, SuperblockError};
use sombra::inspect;

use crate::Outcome;
use crate::failure::Failure;
use crate::output::{print_json, stdout};
use crate::store::start_runtime;

use super::StoreArgs;

#[derive(Serialize)]
struct Dump {
    magic: &'static str,
    format_version: u32,
    copies: [Copy; 2],
}

#[derive(Serialize)]
struct Copy {
    copy: char,
    /// Why the copy cannot be used; the fields are then absent.
    error: Option<String>,
    fields: Option<Fields>,
}

#[derive(Serialize)]
struct Fields {
    store_id: String,
    generation: u64,
    required_features: u64,
    has_data_file: bool,
    optional_features: u64,
    segment_bytes: u64,
    page_size_bytes: u32,
    /// Block of 4,096 bytes in the data file.
    root_table_addr: u64,
    durability_method: &'static str,
    device_identity: String,
    created_ms: u64,
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Link {
    incarnation: u64,
    previous_end: u64,
    new_start: u64,
}

pub(super) fn run(args: &StoreArgs) -> Outcome {
    let runtime = start_runtime()?;
    let report = runtime.block_on(inspect::superblock(&runtime, &args.store));
    runtime.shutdown();
    let report = report.map_err(Failure::work)?;
    if let (Err(a), Err(b)) = (&report.copy_a, &report.copy_b) {
        let path = args.store.join("superblock");
        return Err(Failure::work(format!("{}: copy A: {a}; copy B: {b}", path.display())));
    }
    let copies = [Copy::new('A', report.copy_a), Copy::new('B', report.copy_b)];
    let dump = Dump { magic: "SOMBRASB", format_version: FORMAT_VERSION, copies };
    if args.json { print_json(&dump) } else { dump.write_for_people() }
}

impl Copy {
    fn new(copy: char, decoded: Result<Superblock, SuperblockError>) -> Copy {
        match decoded {
            Ok(superblock) => Copy { copy, error: None, fields: Some(superblock.into()) },
            Err(error) => Copy { copy, error: Some(error.to_string()), fields: None },
        }
    }
}

impl From<Superblock> for Fields {
    fn from(superblock: Superblock) -> Fields {
        let links = superblock.links.iter().map(|link| Link {
            incarnation: link.incarnation.as_u64(),
            previous_end: link.previous_end.as_u64(),
            new_start: link.new_start.as_u64(),
        });
        Fields {
            store_id: superblock.store_id.to_string(),
            generation: superblock.generation,
            required_features: superblock.required_features,
            has_data_file: superblock.required_features & FEATURE_DATA_FILE != 0,
            optional_features: superblock.optional_features,
            segment_bytes: superblock.segment_bytes,
            page_size_bytes: superblock.page_size_bytes,
            root_table_addr: superblock.root_table_addr,
            durability_method: superblock.durability_method.name(),
            links: links.collect(),
            device_identity: superblock.device_identity,
            created_ms: superblock.created_ms,
        }
    }
}

impl Dump {
    fn write_for_people(&self) -> Outcome {
        let mut out = stdout();
        writeln!(out, "{}, format version {}", self.magic, self.format_version)?;
        for copy in &self.copies {
            match (&copy.fields, &copy.error) {
                (Some(fields), _) => fields.write_to(&mut out, copy.copy)?,
                (None, error) => {
                    let error = error.as_deref().unwrap_or_default();
                    writeln!(out, "copy {}: damaged: {error}", copy.copy)?;
                }
            }
        }
        Ok(out.flush()?)
    }
}

impl Fields {
    fn write_to(&self, out: &mut impl Write, copy: char) -> Outcome {
        writeln!(out, "copy {copy}:")?;
        writeln!(out, "  store_id           {}", self.store_id)?;
        writeln!(out, "  generation         {}", self.generation)?;
        let data_file = if self.has_data_file { " (data file)" } else { "" };
        writeln!(out, "  required_features  {:#x}{data_file}", self.required_features)?;
        writeln!(out, "  optional_features  {:#x}", self.optional_features)?;
        writeln!(out, "  segment_bytes      {}", self.segment_bytes)?;
        writeln!(out, "  page_size_bytes    {}", self.page_size_bytes)?;
        writeln!(out, "  root_table_addr    block {}", self.root_table_addr)?;
        writeln!(out, "  durability_method  {}", self.durability_method)?;
        writeln!(out, "  device_identity    {}", self.device_identity)?;
        writeln!(out, "  created_ms         {}", self.created_ms)?;
        for Link { incarnation, previous_end, new_start } in &self.links {
            writeln!(
                out,
                "  opening {incarnation}: log from LSN {new_start}, before it up to \
                     {previous_end}"
            )?;
        }
        Ok(())
    }
}
