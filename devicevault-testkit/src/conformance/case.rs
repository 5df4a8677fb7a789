//! How cases are written and run.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use super::report::{CaseReport, Finding, Report};

/// Why a case ends before its last line.
#[derive(Debug)]
pub(super) enum Stop {
    Broken(String),
    Skipped(String),
}

/// What a case returns.
pub(super) type Checked = Result<(), Stop>;

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Broken(format!("an error where there should be none: {e:?}"))
    }
}

pub(super) fn broken<T>(how: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Broken(how.into()))
}

pub(super) fn skip<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skipped(why.into()))
}

/// Ends the case as broken unless the condition holds.
macro_rules! ensure {
    ($cond:expr, $($text:tt)+) => {
        if !$cond {
            return Err($crate::conformance::case::Stop::Broken(format!($($text)+)));
        }
    };
}
pub(super) use ensure;

/// Ends the case as broken unless both are equal.
macro_rules! ensure_eq {
    ($got:expr, $want:expr, $($text:tt)+) => {
        match (&$got, &$want) {
            (got, want) if *got == *want => {}
            (got, want) => {
                let what = format!($($text)+);
                return Err($crate::conformance::case::Stop::Broken(format!("{what}\n found: {got:?}\nwanted: {want:?}")));
            }
        }
    };
}
pub(super) use ensure_eq;

/// Ends the case as broken unless the result is an error of this kind.
pub(super) fn ensure_kind<T>(got: Result<T>, kind: ErrorKind, what: &str) -> Checked {
    match got {
        Err(e) if e.kind() == kind => Ok(()),
        Err(e) => broken(format!("{what}: should be an error of kind {kind}, and is {e:?}")),
        Ok(_) => broken(format!("{what}: should be an error of kind {kind}, and succeeded")),
    }
}

/// A case of a suite whose cases look at a `C`.
pub(super) struct Case<C: ?Sized> {
    pub(super) name: &'static str,
    pub(super) promise: &'static str,
    pub(super) check: for<'c> fn(&'c C) -> LocalBoxFuture<'c, Checked>,
}

/// A list of cases: name, promise, function.
macro_rules! cases {
    ($($name:literal: $promise:literal => $check:path,)+) => {
        vec![$($crate::conformance::case::Case { name: $name, promise: $promise, check: |cx| Box::pin($check(cx)) }),+]
    };
}
pub(super) use cases;

/// Which cases are run, and how long one may take.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub(super) only: Option<String>,
    pub(super) skip: Vec<(String, String)>,
    pub(super) patience: Duration,
}

impl Default for Selection {
    fn default() -> Self {
        Self { only: None, skip: Vec::new(), patience: Duration::from_secs(120) }
    }
}

/// What every suite has: its choice of cases and how long one may take, from its field `selection`.
macro_rules! chooses_cases {
    ($Suite:ident $(, $field:ident)*) => {
        impl std::fmt::Debug for $Suite<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut suite = f.debug_struct(stringify!($Suite));
                suite.field("selection", &self.selection)$(.field(stringify!($field), &self.$field))*;
                suite.finish_non_exhaustive()
            }
        }

        impl $Suite<'_> {
            /// Only this case.
            #[must_use]
            pub fn only(mut self, case: &str) -> Self {
                self.selection.only = Some(case.to_owned());
                self
            }

            /// Not this case; the reason stands in the report.
            #[must_use]
            pub fn skip(mut self, case: &str, why: &str) -> Self {
                self.selection.skip.push((case.to_owned(), why.to_owned()));
                self
            }

            /// How long a case may take; two minutes unless told.
            #[must_use]
            pub fn with_patience(mut self, patience: std::time::Duration) -> Self {
                self.selection.patience = patience;
                self
            }
        }
    };
}
pub(super) use chooses_cases;

/// Runs the cases one after the other, each with a context of its own.
pub(super) async fn run<C>(
    suite: &'static str,
    cases: Vec<Case<C>>,
    selection: &Selection,
    context: impl Fn(&'static str) -> C,
) -> Report {
    let mut reports = Vec::new();
    for case in cases {
        if selection.only.as_deref().is_some_and(|only| only != case.name) {
            continue;
        }
        let finding = match selection.skip.iter().find(|(name, _)| name == case.name) {
            Some((_, why)) => Finding::Skipped(why.clone()),
            None => one(&case, selection.patience, &context(case.name)).await,
        };
        reports.push(CaseReport { name: case.name, promise: case.promise, finding });
    }
    Report { suite, cases: reports }
}

async fn one<C>(case: &Case<C>, patience: Duration, context: &C) -> Finding {
    let check = AssertUnwindSafe((case.check)(context)).catch_unwind();
    match tokio::time::timeout(patience, check).await {
        Ok(Ok(Ok(()))) => Finding::Held,
        Ok(Ok(Err(Stop::Skipped(why)))) => Finding::Skipped(why),
        Ok(Ok(Err(Stop::Broken(how)))) => Finding::Broken(how),
        Ok(Err(panic)) => Finding::Broken(format!("it panicked: {}", panic_text(panic.as_ref()))),
        Err(_) => Finding::Broken(format!("it did not end within {} seconds", patience.as_secs())),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
