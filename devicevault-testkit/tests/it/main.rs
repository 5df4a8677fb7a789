//! The testkit's own tests.

mod faults;
mod memory_backend;
mod memory_catalog;
mod scripted_collector;
