//! The `devicevault` program against real servers: OpenSSH, Dropbear, FRRouting.
//!
//! A test that needs one is ignored by name and run by `cargo xtask test`. Asked to run without its server, it fails. The
//! servers listen on 127.0.0.1 at ports that the system hands out, keep their files in folders of their own and end with
//! the test.

mod algorithms;
mod clocks;
mod devicevault;
mod dropbear;
mod fakenos;
mod frr;
mod huge_file;
mod large_files;
mod logins;
mod place;
mod plugin_crate;
mod process;
mod quarantine;
mod recordings;
mod refusals;
mod remotes;
mod routers;
mod secrets;
mod sshd;
mod stores;
mod tokens;
mod tools;
mod user;
mod ways;
