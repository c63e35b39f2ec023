//! Measurements of many sensors: appended in batches, read back as the newest few, as a window of
//! time, and page by page.
//!
//! `cargo run --release -p sombra --example time_series`

use std::path::Path;

use sombra::{BlockingSnapshot, Db, KeyRange, Keyspace, Options, Routing, WriteBatch};
use sombra_runtime::{Runtime, RuntimeOptions};

const SENSORS: u32 = 10;
const MINUTES: u64 = 600;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let parent = std::env::temp_dir().join(format!("sombra-series-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let outcome = run(&parent.join("store"));
    std::fs::remove_dir_all(&parent)?;
    println!("{} measurements in the window", outcome?);
    Ok(())
}

/// Sensor, then time: the rows of one sensor lie together, in the order of time. The keyspace
/// routes by the sensor alone.
fn key(sensor: u32, minute: u64) -> Vec<u8> {
    [&sensor.to_be_bytes()[..], &minute.to_be_bytes()].concat()
}

/// Returns how many measurements the window of one sensor has.
pub(crate) fn run(dir: &Path) -> Result<usize, AnyError> {
    let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() })?;
    let db = runtime.block_on(Db::open(&runtime, dir, Options::temporary()))?.blocking();
    let series = db.create_keyspace("series", Routing::hash(4))?;
    for minute in 0..MINUTES {
        let mut batch = WriteBatch::new();
        for sensor in 0..SENSORS {
            batch.put(&series, key(sensor, minute), format!("{}", minute % 7 + u64::from(sensor)));
        }
        db.write(&batch)?;
    }
    let view = db.snapshot()?;
    let newest = newest(&view, &series, 3, 5)?;
    if newest != [599, 598, 597, 596, 595] {
        return Err(format!("the newest minutes of sensor 3: {newest:?}").into());
    }
    let window = view.scan(&series, key(3, 100)..key(3, 160)).collect::<Result<Vec<_>, _>>()?;
    let pages = pages(&view, &series, 7)?;
    if pages != MINUTES as usize {
        return Err(format!("{pages} rows over all pages of sensor 7").into());
    }
    drop(view);
    db.close()?;
    runtime.shutdown();
    Ok(window.len())
}

fn newest(
    view: &BlockingSnapshot,
    series: &Keyspace,
    sensor: u32,
    count: usize,
) -> Result<Vec<u64>, AnyError> {
    let of_sensor = KeyRange::prefix(&sensor.to_be_bytes());
    let mut minutes = Vec::new();
    for key in view.scan_reverse(series, of_sensor).keys().take(count) {
        minutes.push(u64::from_be_bytes(key?[4..].try_into()?));
    }
    Ok(minutes)
}

/// As a server pages for clients that bring back the last key they have seen.
fn pages(view: &BlockingSnapshot, series: &Keyspace, sensor: u32) -> Result<usize, AnyError> {
    let (mut rows, mut last): (usize, Option<Vec<u8>>) = (0, None);
    loop {
        let scan = view.scan(series, KeyRange::prefix(&sensor.to_be_bytes()));
        let scan = match &last {
            Some(last) => scan.after(last),
            None => scan,
        };
        let page = scan.take(100).collect::<Result<Vec<_>, _>>()?;
        let Some((key, _)) = page.last() else { return Ok(rows) };
        last = Some(key.to_vec());
        rows += page.len();
    }
}
