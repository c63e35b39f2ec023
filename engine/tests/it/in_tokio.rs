//! The embedding example, run.

#![allow(dead_code, reason = "the example's own main is not called here")]

#[path = "../../examples/in_tokio.rs"]
mod example;

#[test]
fn store_inside_a_tokio_program_keeps_every_increment_of_its_tasks() {
    let dir = crate::support::TestDir::new();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(tokio.block_on(example::run(&dir.store())).unwrap(), 200);
}
