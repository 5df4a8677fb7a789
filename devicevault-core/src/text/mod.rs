//! Texts of devices: line ends, volatile lines, secrets, and when a text is suspect.

mod failure;
mod general;
mod mask;
mod prefilter;
mod rules;
mod suspect;
mod views;

pub use failure::{FailureLines, FailureWatch, FoundFailure};
pub use general::{begins_secret_key, ends_secret_key, secrets_of_line};
pub use mask::InstanceKey;
pub use prefilter::Prefilter;
pub use rules::{BlockRule, LineRule, ProseRule, SecretRule, ShapeRule, SuspectRules, TextRules};
pub use suspect::{StatedLength, SuspectCheck, told_marks};
pub use views::{LineEnds, ViewMaker};
