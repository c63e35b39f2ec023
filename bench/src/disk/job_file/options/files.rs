//! Which files a job works on, how they are made, and which part of them is used.

use std::path::PathBuf;

use super::{OptionRow, accept, one_of, refuse, set};
use crate::disk::job::{Extent, FileService, Preallocate};
use crate::disk::job_file::draft::{Draft, Given};
use crate::disk::job_file::value::{Parsed, bounded_u32, colon_list, extent, flag, number, range};
use crate::limits::DISK_JOB_FILES_MAX;

pub(super) const ROWS: &[OptionRow] = &[
    set(&["filename"], filename),
    set(&["directory"], directory),
    set(&["nrfiles", "nr_files"], |draft, given| {
        let max = u32::try_from(DISK_JOB_FILES_MAX).expect("the bound fits 32 bits");
        draft.job.nrfiles = bounded_u32(given.text()?, draft.kb_base, 1, max)?;
        Ok(())
    }),
    set(&["file_service_type"], file_service_type),
    set(&["size"], |draft, given| {
        let size = extent(given.text()?, draft.kb_base, 100)?;
        draft.job.size = unless_zero(size);
        Ok(())
    }),
    set(&["io_size", "io_limit"], |draft, given| {
        let size = extent(given.text()?, draft.kb_base, 100)?;
        draft.job.io_size = unless_zero(size);
        Ok(())
    }),
    set(&["offset", "fileoffset"], |draft, given| {
        draft.job.offset = extent(given.text()?, draft.kb_base, 100)?;
        Ok(())
    }),
    set(&["offset_increment"], |draft, given| {
        draft.job.offset_increment = extent(given.text()?, draft.kb_base, 100)?;
        Ok(())
    }),
    set(&["filesize"], filesize),
    set(&["overwrite"], |draft, given| flag(given.value).map(|is| draft.job.overwrite = is)),
    set(&["fallocate"], fallocate),
    set(&["unlink"], |draft, given| flag(given.value).map(|is| draft.job.unlink = is)),
    set(&["invalidate"], |draft, given| flag(given.value).map(|is| draft.job.invalidate = is)),
    accept(&["unique_filename"], ""),
    accept(&["create_serialize"], ""),
    refuse(&["filename_format"], &["$jobname.$jobnum.$filenum"], "name the files by 'filename'"),
    refuse(&["opendir"], &[], "name the files by 'filename'"),
    refuse(&["lockfile"], &["none"], "jobs never lock the files that they share"),
    refuse(&["openfiles"], &["0"], "a job keeps all of its files open"),
    refuse(&["file_append"], &["0"], "begin behind the end by 'offset'"),
    refuse(&["fill_device", "fill_fs"], &["0"], "say how much to write by 'size'"),
    refuse(&["offset_align"], &["0"], "give an 'offset' that is aligned"),
    refuse(&["create_fsync"], &["1"], "files are always flushed once they are laid out"),
    refuse(&["create_on_open"], &["0"], "files are laid out before the jobs start"),
    refuse(&["create_only"], &["0"], "write the files by a job with rw=write"),
    refuse(&["allow_file_create"], &["1"], "make no job that needs files which are not there"),
    refuse(&["allow_mounted_write"], &["0"], "a mounted device is never written to"),
    refuse(&["pre_read"], &["0"], "read the file by a job of its own before"),
    refuse(&["unlink_each_loop"], &["0"], "use 'unlink', at the end of the job"),
    refuse(&["atomic"], &["0"], "use direct=1 with sync=dsync"),
];

fn unless_zero(extent: Extent) -> Option<Extent> {
    match extent {
        Extent::Bytes(0) | Extent::Percent(0) => None,
        extent => Some(extent),
    }
}

fn filename(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let names = colon_list(given.text()?);
    if names.len() as u64 > DISK_JOB_FILES_MAX {
        return Err(format!("at most {DISK_JOB_FILES_MAX} names").into());
    }
    if names.iter().any(String::is_empty) {
        return Err("names of files with ':' between, or '\\:' in a name".into());
    }
    if names.iter().any(|name| name == "-") {
        return Err("a file: standard input and output are not supported".into());
    }
    check_no_nul(&names)?;
    draft.job.filenames = names.into_iter().map(PathBuf::from).collect();
    Ok(())
}

fn directory(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let names = colon_list(given.text()?);
    match names.as_slice() {
        [name] if !name.is_empty() => {
            check_no_nul(&names)?;
            draft.job.directory = Some(PathBuf::from(name));
            Ok(())
        }
        _ => Err("one directory (a colon of its name is written '\\:')".into()),
    }
}

fn check_no_nul(names: &[String]) -> Parsed<()> {
    if names.iter().any(|name| name.contains('\0')) {
        return Err("names without a zero byte".into());
    }
    Ok(())
}

fn file_service_type(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let text = given.text()?;
    // `:1`, the file's turn ends after one operation, is what happens anyway.
    let choices = [
        ("roundrobin", FileService::RoundRobin),
        ("random", FileService::Random),
        ("sequential", FileService::Sequential),
    ];
    one_of(text.strip_suffix(":1").unwrap_or(text), &choices)
        .map(|service| draft.job.file_service = service)
}

fn filesize(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let text = given.text()?;
    let base = draft.kb_base;
    let (min, max) = match range(text, base) {
        Ok(sizes) => sizes,
        Err(_) => number(text, base)
            .map(|size| (size, size))
            .map_err(|_| "a size, like 4m, or two, like 1m-4m")?,
    };
    if i64::try_from(max).is_err() || min == 0 && max > 0 {
        return Err("sizes of 1 byte to 2^63".into());
    }
    draft.job.filesize = (max > 0).then_some((min, max));
    Ok(())
}

fn fallocate(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let choices = [
        ("none", Preallocate::None),
        ("0", Preallocate::None),
        ("native", Preallocate::Native),
        ("posix", Preallocate::Native),
        ("1", Preallocate::Native),
        ("truncate", Preallocate::Truncate),
    ];
    draft.job.preallocate = one_of(given.text()?, &choices)?;
    if matches!(given.value, Some("posix" | "1")) {
        draft.note("option 'fallocate': native in place of posix: files are never filled by hand");
    }
    Ok(())
}
