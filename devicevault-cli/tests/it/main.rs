//! The `devicevault` program, run as a person runs it: by its arguments, its outputs and its exit codes. The devices are
//! simulated in the test's own process and reached over real SSH on loopback.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod arguments;
mod at_once;
mod catalog_alone;
mod catalogs;
mod credentials;
mod crowd;
mod damage;
mod definitions;
mod demos;
mod destinations;
mod fleets;
mod foreign_keys;
mod foul_texts;
mod frozen;
mod full_disks;
mod homes;
mod hops;
mod hostile;
mod imports;
mod interrupts;
mod keys;
mod kills;
mod lost_keys;
mod namesakes;
mod odd_files;
mod opaque_names;
mod own_programs;
mod pages;
mod person;
mod platforms;
mod policies;
mod recovery;
mod refusals;
mod repositories;
mod restores;
mod retention;
mod rounds;
mod secrets;
mod sight;
mod silence;
mod slips;
mod stats;
mod verifications;
mod waiting;
