//! Running other programs: what they print goes on to the terminal and, where asked for, is kept.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a program that was run to its end left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    /// Both outputs, line by line as they came.
    pub(crate) lines: Vec<String>,
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The cargo that runs this program, in the folder of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Whether a cargo subcommand is installed.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    cargo(&[subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs to the end with the terminal's own input and outputs.
///
/// # Errors
/// The program cannot be started, or fails.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{}: {e}", name(&command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", name(&command))) }
}

/// Runs to the end, prints what comes as it comes, and keeps it.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn run_and_keep(mut command: Command) -> Result<Ended, String> {
    let failed = |e: std::io::Error, command: &Command| format!("{}: {e}", name(command));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| failed(e, &command))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let other = std::thread::spawn(move || err.map_or_else(Vec::new, pass_on));
    let mut lines = out.map_or_else(Vec::new, pass_on);
    lines.extend(other.join().unwrap_or_default());
    let status = child.wait().map_err(|e| failed(e, &command))?;
    Ok(Ended { success: status.success(), lines })
}

/// Runs to the end and returns the standard output alone; the other one goes to the terminal.
///
/// # Errors
/// The program cannot be started, or fails, or prints what is not UTF-8.
pub(crate) fn output_of(mut command: Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("{}: {e}", name(&command)))?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", name(&command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{}: {e}", name(&command)))
}

fn pass_on(from: impl Read) -> Vec<String> {
    let mut lines = Vec::new();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        println!("{text}");
        lines.push(text);
        line.clear();
    }
    lines
}

/// The program and its first arguments, for messages.
fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let args: Vec<_> = command.get_args().take(2).map(|a| a.to_string_lossy()).collect();
    format!("{program} {}", args.join(" "))
}
