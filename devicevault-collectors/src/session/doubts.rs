//! What may make a text another one than the device's.

/// What may make the text another one than the device's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Doubts {
    /// The command's echo was not seen.
    pub(crate) no_echo: bool,
    /// The echo of an empty line of ours may stand in the text, or a line end of the text may be missing.
    pub(crate) line_end: bool,
    /// Text was shown and taken away again.
    pub(crate) erased: bool,
    /// Text was shown, and the device went back above it and wrote there.
    pub(crate) above: bool,
    /// The prompt and the command came once more after text.
    pub(crate) read_late: bool,
}

impl Doubts {
    /// In words, where there are any.
    pub(crate) fn text(self) -> Option<&'static str> {
        match self {
            Self { no_echo: true, .. } => {
                Some("the device did not echo the command, so that the text's beginning is a guess")
            }
            Self { read_late: true, .. } => {
                Some("the device read the command only after text had come, which may belong to the answer before")
            }
            Self { line_end: true, .. } => {
                Some("the device paused at a line that looks like its prompt; a line end there may be ours")
            }
            Self { above: true, .. } => {
                Some("the device went back to lines above and changed them; what it had shown there still stands")
            }
            Self { erased: true, .. } => Some("the device erased text in a line; part of the line may be lost"),
            _ => None,
        }
    }
}
