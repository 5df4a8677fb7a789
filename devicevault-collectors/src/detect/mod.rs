//! Recognising what a device is: by how its SSH server names itself, its banner, its prompt and what it answers to one or
//! two commands that change nothing. The signs are in the platform files, in their table `[detect]`.

mod evidence;
mod probe;

pub use evidence::{Candidate, Recognition};
pub use probe::Detector;
pub(crate) use probe::{open_shell, unknown_device};
