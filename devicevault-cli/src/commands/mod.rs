//! The commands, one file each.

pub(crate) mod accept;
pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod catalog;
pub(crate) mod credential;
pub(crate) mod demo;
pub(crate) mod destination;
pub(crate) mod device;
pub(crate) mod diff;
pub(crate) mod download;
pub(crate) mod export;
pub(crate) mod git;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod platform;
pub(crate) mod policy;
pub(crate) mod quarantine;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod verify;
