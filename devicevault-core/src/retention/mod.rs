//! How long backups are kept: [`Retention`] says what a policy wants, [`plan`] decides for the versions of one artefact
//! and gives a reason for each, [`Sweep`] carries it out at one destination.
//!
//! # What is kept
//! A version is kept when any keep rule wants it: the last so many, those that were valid in the last so many days, the
//! one in force at the end of each of the last so many hours, days, weeks, months or years (grandfather, father, son), or
//! at the ends of the days that the Tower of Hanoi picks. A version that did not change for a year was in force at the
//! end of every day of that year: what counts is how things stood at a moment, not on which day they were written.
//! Limits (number, size, age) then take the oldest away again.
//!
//! # What never goes
//! The newest version, the newest one that is not suspect and whose copy is whole, and whatever is pinned. Days and
//! calendars count back from the last time the artefact was seen, not from now: a clock that leaps ahead, or a device
//! that has been silent for a year, loses nothing. Where backups were made while the clock was ahead, days and calendars
//! count from then: [`Sweep::check`] finds the gap that this leaves, and asks for a person's word.
//!
//! A record is not believed blindly: before anything of an artefact goes, its copies that are to stay as good ones are
//! looked at, and what is not what was stored takes nobody's place.

mod calendar;
mod leap;
mod plan;
mod remaining;
mod rules;
mod sweep;

pub use plan::{Decision, Reason, Version, plan};
pub use remaining::Lost;
pub use rules::Retention;
pub use sweep::{Plan, Planned, Sweep, Swept};
