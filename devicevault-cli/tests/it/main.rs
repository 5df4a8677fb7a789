//! The `devicevault` program, run as a person runs it.

mod arguments;
mod homes;
mod imports;
mod person;
