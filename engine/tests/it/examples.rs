//! Every example, run.

#![allow(dead_code, reason = "the examples' own mains are not called here")]

use crate::support::TestDir;

#[path = "../../examples/bank.rs"]
mod bank;
#[path = "../../examples/counters.rs"]
mod counters;
#[path = "../../examples/in_smol.rs"]
mod in_smol;
#[path = "../../examples/in_tokio.rs"]
mod in_tokio;
#[path = "../../examples/inverted_index.rs"]
mod inverted_index;
#[path = "../../examples/queue.rs"]
mod queue;
#[path = "../../examples/time_series.rs"]
mod time_series;

#[test]
fn store_inside_a_tokio_program_keeps_every_increment_of_its_tasks() {
    let dir = TestDir::new();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(tokio.block_on(in_tokio::run(&dir.store())).unwrap(), 200);
}

#[test]
fn store_inside_a_smol_program_keeps_the_money_that_its_tasks_move() {
    assert_eq!(in_smol::run(&TestDir::new().store()).unwrap(), 200);
}

#[test]
fn examples_run_and_find_what_they_say() {
    assert!(bank::run(&TestDir::new().store()).unwrap() > 400);
    assert_eq!(counters::run(&TestDir::new().store()).unwrap(), 2_000);
    assert_eq!(time_series::run(&TestDir::new().store()).unwrap(), 60);
    assert_eq!(queue::run(&TestDir::new().store()).unwrap(), 100);
    assert_eq!(inverted_index::run(&TestDir::new().store()).unwrap(), ["note"]);
}
