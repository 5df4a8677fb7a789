//! The k-th call fails, once or from then on, for every k.

use super::Kind;

/// How calls fail, as `strace` is told.
#[derive(Debug, Clone, Copy)]
enum Failing {
    Once(&'static str),
    ForEver(&'static str),
}

async fn every_call_fails(kind: Kind, how: Failing) {
    let logs = tempfile::tempdir().unwrap();
    let (mut calls, mut confirmed) = (0, 0);
    for k in 1.. {
        let (folder, before) = kind.fresh().await;
        let (error, when) = match how {
            Failing::Once(error) => (error, k.to_string()),
            Failing::ForEver(error) => (error, format!("{k}+")),
        };
        let log = logs.path().join("log");
        let inject = format!("inject={}:error={error}:when={when}", super::CALLS);
        let mut there = kind.stores(folder.path(), &log, &["-e", &inject]);
        if !std::fs::read_to_string(&log).unwrap_or_default().contains("(INJECTED)") {
            assert_eq!(there.len(), 3, "without a fault all is stored");
            break;
        }
        calls = k;
        confirmed += there.len();
        there.insert(before);
        kind.is_well(folder.path(), &there, &format!("{how:?}, call {k}")).await;
    }
    eprintln!("{kind:?}, {how:?}: at each of {calls} calls; {confirmed} of {} entries stored all the same", 3 * calls);
    assert!(calls > 40, "{calls} calls are not all");
}

macro_rules! tests {
    ($($name:ident: $kind:ident, $how:expr;)*) => {
        $(#[tokio::test]
        #[ignore = "needs strace and git"]
        async fn $name() {
            every_call_fails(Kind::$kind, $how).await;
        })*
    };
}

tests! {
    a_folder_and_an_error_once: Plain, Failing::Once("EIO");
    a_folder_and_an_error_for_ever: Plain, Failing::ForEver("EIO");
    a_folder_and_a_disk_that_is_full_from_then_on: Plain, Failing::ForEver("ENOSPC");
    a_repository_and_an_error_once: Git, Failing::Once("EIO");
    a_repository_and_an_error_for_ever: Git, Failing::ForEver("EIO");
    a_repository_and_a_disk_that_is_full_from_then_on: Git, Failing::ForEver("ENOSPC");
}
