//! The testkit's own tests.

#![allow(clippy::unwrap_used, reason = "tests")]

mod defective_backend;
mod defective_catalog;
mod faults;
mod memory_backend;
mod memory_catalog;
mod memory_spool;
mod scripted_collector;
