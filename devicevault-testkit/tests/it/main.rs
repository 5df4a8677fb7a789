//! The testkit's own tests.

mod memory_backend;
mod memory_catalog;
mod scripted_collector;
