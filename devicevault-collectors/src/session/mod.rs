//! Sessions: from bytes of a terminal to whole answers.

mod answer;
mod dialogue;
mod prompt;
mod screen;
mod sequence;
mod shell;

pub(crate) use shell::Shell;
