//! Sessions: from bytes of a terminal to whole answers.

mod answer;
mod dialogue;
mod doubts;
mod prompt;
mod question;
mod screen;
mod sequence;
mod shell;
mod shown;

pub(crate) use answer::is_pager;
pub(crate) use screen::last_line;
pub(crate) use shell::{LoginBounds, Shell};
pub(crate) use shown::shown_text;
