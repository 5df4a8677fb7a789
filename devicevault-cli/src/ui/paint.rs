//! Colours, where the reader wants them.

use std::fmt;

/// Whether to colour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

/// What a colour says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// As it should be; an added line.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong; a removed line.
    Bad,
    /// The next step; where a hunk stands.
    Hint,
    /// A heading.
    Bold,
    /// Of little weight.
    Dim,
}

impl Paint {
    pub(crate) fn new(color: bool) -> Self {
        Self(color)
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self(false)
    }

    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    /// The text in this style.
    pub(crate) fn on(self, style: Style, text: impl fmt::Display) -> String {
        if !self.0 {
            return text.to_string();
        }
        let code = match style {
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "31",
            Style::Hint => "36",
            Style::Bold => "1",
            Style::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
