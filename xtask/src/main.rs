//! What maintainers run. `cargo xtask help` lists it.
#![allow(clippy::print_stdout, reason = "a program that talks to whoever started it")]

mod command;
mod commands;
mod ignored;
mod peers;
mod platforms;
mod rules;
mod steps;
mod summary;
mod workspace;

use std::process::ExitCode;

use summary::Summary;
use workspace::Workspace;

const HELP: &str = "\
cargo xtask test [--no-install]   everything that CI does:
                                  format, rules, licences, clippy, tests, documentation, doc tests and the
                                  tests against real servers. As root on Debian it installs the servers'
                                  packages that are missing; --no-install leaves the machine as it is
cargo xtask ci                    the same
cargo xtask rules                 only the rules: dependencies, sources, licences
cargo xtask docs                  writes the pages that are made from the tree
cargo xtask fixtures              writes the frozen files of this release's formats where they are missing
cargo xtask recordings DIR        plays every recorded session of a folder and prints what came of it
cargo xtask help                  this text";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (install, rules_only) = match args[..] {
        ["test" | "ci"] => (true, false),
        ["test" | "ci", "--no-install"] => (false, false),
        ["rules"] => (false, true),
        ["docs"] => return docs(),
        ["fixtures"] => return fixtures(),
        ["recordings", folder] => return recordings(folder),
        ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            println!("{HELP}");
            return ExitCode::from(2);
        }
    };
    let mut summary = Summary::default();
    match Workspace::load() {
        Ok(workspace) if rules_only => rules(&mut summary, &workspace),
        Ok(workspace) => everything(&mut summary, &workspace, install),
        Err(why) => summary.fail("workspace", vec![why]),
    }
    summary.print();
    if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Backs up every recorded device of a folder, in every mode.
fn recordings(folder: &str) -> ExitCode {
    let test = ["test", "-q", "-p", "devicevault-cli", "--test", "real", "every_recording", "--"];
    let run = std::fs::canonicalize(folder).map_err(|e| format!("{folder}: {e}")).and_then(|folder| {
        let mut command = command::cargo(&test);
        command.args(["--ignored", "--nocapture"]).env(peers::RECORDINGS, folder);
        command::run(command)
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Writes what later releases have to read: a home with all that this one writes into it.
fn fixtures() -> ExitCode {
    let test = ["test", "-q", "-p", "devicevault-cli", "--test", "it", "writes_what_is_frozen", "--", "--ignored"];
    match command::run(command::cargo(&test)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Writes what is generated.
fn docs() -> ExitCode {
    let written = Workspace::load().and_then(|w| {
        let page = platforms::page(&w.root)?;
        std::fs::write(w.root.join(platforms::PAGE), page).map_err(|e| e.to_string())?;
        commands::PAGES.iter().try_for_each(|(file, args)| {
            let text = commands::page(args).map_err(|e| format!("{file}: {e}"))?;
            std::fs::write(w.root.join(file), text).map_err(|e| format!("{file}: {e}"))
        })
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What fails soonest comes first; a failure does not keep the rest from being looked at.
fn everything(summary: &mut Summary, workspace: &Workspace, install: bool) {
    // Packages are fetched while the workspace builds.
    let reasons = ignored::reasons(workspace);
    let installing = std::thread::spawn(move || if install { peers::install(&reasons) } else { Vec::new() });
    steps::format(summary);
    rules(summary, workspace);
    steps::clippy(summary);
    steps::tests(summary);
    steps::documentation(summary);
    steps::doc_tests(summary);
    let remarks = installing.join().unwrap_or_else(|_| vec!["installing packages ended in a panic".to_owned()]);
    steps::real_servers(summary, remarks);
}

fn rules(summary: &mut Summary, workspace: &Workspace) {
    for (name, look) in rules::ALL {
        summary.time(|| match look(workspace) {
            broken if broken.is_empty() => summary::Check::passed(name),
            broken => summary::Check::failed(name, broken),
        });
    }
}
