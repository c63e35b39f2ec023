mod batches;
mod fill;
mod steps;
mod store;
