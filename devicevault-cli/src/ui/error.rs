//! Errors for a person, and as JSON for a program.

use std::collections::BTreeMap;
use std::error::Error as _;

use devicevault_core::Error;
use serde::Serialize;

use super::escape;
use super::paint::{Paint, Style};

/// `error:`, every `Caused by:`, and the `hint:`.
pub(crate) fn report(e: &Error, paint: Paint) -> String {
    let mut out = format!("{} {}\n", paint.on(Style::Bad, "error:"), escape::text(&e.to_string()));
    for cause in causes(e) {
        out.push_str(&format!("  {} {}\n", paint.on(Style::Bad, "Caused by:"), escape::text(&cause)));
    }
    if let Some(hint) = e.hint_text() {
        out.push_str(&format!("{} {}\n", paint.on(Style::Hint, "hint:"), escape::text(hint)));
    }
    out
}

/// An error as `--json` tells it.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorObject {
    error: ErrorBody,
}

#[derive(Debug, Serialize)]
struct ErrorBody {
    kind: String,
    operation: String,
    message: String,
    context: BTreeMap<String, String>,
    causes: Vec<String>,
    hint: Option<String>,
}

impl From<&Error> for ErrorObject {
    fn from(e: &Error) -> Self {
        Self {
            error: ErrorBody {
                kind: e.kind().to_string(),
                operation: e.operation().to_owned(),
                message: e.message().to_owned(),
                context: e.context().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                causes: causes(e),
                hint: e.hint_text().map(str::to_owned),
            },
        }
    }
}

/// Every cause, outermost first. One that only repeats the one before it is left out.
fn causes(e: &Error) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut cause = e.source();
    while let Some(c) = cause {
        let text = c.to_string();
        if out.last() != Some(&text) {
            out.push(text);
        }
        cause = c.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use devicevault_core::ErrorKind;

    fn sample() -> Error {
        let inner = Error::new(ErrorKind::Unreachable, "connect", "connection refused").with("address", "192.0.2.1:22");
        Error::new(ErrorKind::Unavailable, "back up device", "the device\x1b[2J cannot be asked")
            .with("device", "core-rtr1")
            .because(inner)
            .hint("check the address")
    }

    #[test]
    fn a_report_names_cause_and_next_step_and_escapes_what_devices_say() {
        insta::assert_snapshot!(report(&sample(), Paint::plain()), @r"
        error: back up device: the device\u{1b}[2J cannot be asked (device: core-rtr1)
          Caused by: connect: connection refused (address: 192.0.2.1:22)
        hint: check the address
        ");
    }

    #[test]
    fn the_object_has_the_same_parts() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&ErrorObject::from(&sample())).unwrap(), @r#"
        {
          "error": {
            "kind": "unavailable",
            "operation": "back up device",
            "message": "the device\u001b[2J cannot be asked",
            "context": {
              "device": "core-rtr1"
            },
            "causes": [
              "connect: connection refused (address: 192.0.2.1:22)"
            ],
            "hint": "check the address"
          }
        }
        "#);
    }
}
