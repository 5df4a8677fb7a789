//! File type rules: what a binary artefact has to be before it is kept as a good one.
//!
//! Whoever is backed up by policy may say, for all binary artefacts or for one of them, which extensions, first bytes
//! (magic numbers) and sizes are allowed or forbidden, and which checker has to pass it. Rules come from several places
//! (the configuration, each policy that selects the device, the device itself), and **all of them hold**: a rule can be
//! added anywhere and loosened only where it stands.
//!
//! What breaks a rule is **quarantined**: stored as everything is, so that nothing is lost, and marked. It is suspect (so
//! it is never the reference that later runs are compared with, and takes no good version's place), and besides it is
//! handed out only when somebody asks for it by that word, until a person releases it. A rule may also say `refuse`: then
//! nothing of it is kept. What is larger than a rule allows is always refused, and its transfer stops at the bound.
//!
//! - [`FileRules`] are what one place says, read from options; [`FileRule`] is what that means for one artefact.
//! - [`Judge`] looks at the bytes as they pass: it holds the few first ones, whatever the size.
//! - [`FileChecker`] is whoever looks at a whole file: a program, a service.

mod checker;
mod judge;
mod magic;
mod options;

pub use checker::{CheckedFile, FileChecker, Finding};
pub(crate) use judge::refuse;
pub use judge::{Check, Judge, Judged};
pub use magic::Magic;
pub use options::{FileRule, FileRules, OnBreach};
