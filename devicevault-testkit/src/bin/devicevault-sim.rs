//! Simulated devices in a process of their own, for benchmarks.
//!
//! ```text
//! devicevault-sim [--devices N] [--platform P] [--size BYTES] [--seed S] [--port P] [--addresses]
//!                 [--enable SECRET] [--volatile] [--think-ms MS] [--threads N]
//! ```
//! It prints a line `device NAME HOST PORT PLATFORM` for each device and then `ready`, and takes commands from its
//! standard input: `stats` prints a line of JSON, `change` changes every configuration. It ends with its input.

use std::collections::VecDeque;
use std::io::BufRead as _;
use std::process::ExitCode;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use devicevault_testkit::sim::{Fleet, Quirk, SimDevice, Simulated};

#[derive(Debug)]
struct Options {
    devices: usize,
    platform: String,
    size: usize,
    seed: u64,
    port: Option<u16>,
    addresses: bool,
    enable: Option<String>,
    volatile: bool,
    think: Duration,
    threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            devices: 1,
            platform: "cisco_ios".to_owned(),
            size: 20 * 1024,
            seed: 1,
            port: None,
            addresses: false,
            enable: None,
            volatile: false,
            think: Duration::ZERO,
            threads: 1,
        }
    }
}

fn main() -> ExitCode {
    match read_options(std::env::args().skip(1).collect()).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            #[allow(clippy::print_stderr, reason = "this is a program")]
            {
                eprintln!("error: {e:?}");
            }
            ExitCode::FAILURE
        }
    }
}

fn read_options(mut args: VecDeque<String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(flag) = args.pop_front() {
        match flag.as_str() {
            "--devices" => options.devices = value(&flag, &mut args)?,
            "--platform" => options.platform = value(&flag, &mut args)?,
            "--size" => options.size = value(&flag, &mut args)?,
            "--seed" => options.seed = value(&flag, &mut args)?,
            "--port" => options.port = Some(value(&flag, &mut args)?),
            "--addresses" => options.addresses = true,
            "--enable" => options.enable = Some(value(&flag, &mut args)?),
            "--volatile" => options.volatile = true,
            "--think-ms" => options.think = Duration::from_millis(value(&flag, &mut args)?),
            "--threads" => options.threads = value(&flag, &mut args)?,
            _ => return Err(wrong("there is no such option").with("option", flag.escape_debug())),
        }
    }
    Ok(options)
}

fn wrong(why: &'static str) -> Error {
    Error::new(ErrorKind::Config, "read options", why)
}

fn value<T: std::str::FromStr>(flag: &str, args: &mut VecDeque<String>) -> Result<T> {
    let text = args.pop_front().ok_or_else(|| wrong("a value is missing").with("option", flag))?;
    text.parse().map_err(|_| wrong("this value cannot be").with("option", flag).with("value", text.escape_debug()))
}

fn run(options: Options) -> Result<()> {
    let failed =
        |e: std::io::Error| Error::new(ErrorKind::Unavailable, "start runtime", "it does not start").because(e);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads.max(1))
        .enable_all()
        .build()
        .map_err(failed)?;
    let fleet = runtime.block_on(start(options))?;
    for device in fleet.devices() {
        let addr = device.addr();
        print(&format!("device {} {} {} {}", device.name(), addr.ip(), addr.port(), device.platform()));
    }
    print("ready");
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        match line.trim() {
            "change" => {
                fleet.devices().iter().for_each(Simulated::change_something);
                print("changed");
            }
            "stats" => print(&stats(&fleet)),
            _ => print("commands are change and stats"),
        }
    }
    Ok(())
}

async fn start(options: Options) -> Result<Fleet> {
    let mut fleet = Fleet::builder();
    for i in 0..options.devices {
        let device = SimDevice::of_platform(&options.platform, format!("sim{i:05}"));
        let unknown =
            || wrong("there is no simulation of this platform").with("platform", options.platform.escape_debug());
        let mut device = device.ok_or_else(unknown)?.size(options.size).seed(options.seed);
        if let Some(secret) = &options.enable {
            device = device.enable_secret(secret);
        }
        if options.volatile {
            device = device.volatile();
        }
        if !options.think.is_zero() {
            device = device.quirk(Quirk::ThinkTime(options.think));
        }
        fleet = fleet.device(device);
    }
    fleet = match (options.addresses, options.port) {
        (true, port) => fleet.on_addresses(port.ok_or_else(|| wrong("addresses need a port"))?),
        (false, Some(port)) => fleet.on_ports_from(port),
        (false, None) => fleet,
    };
    fleet.start().await
}

fn stats(fleet: &Fleet) -> String {
    let s = fleet.stats();
    format!(
        "{{\"connections\":{},\"logins\":{},\"password_attempts\":{},\"shells\":{},\"commands\":{},\"bytes\":{},\"open\":{}}}",
        s.connections, s.logins, s.password_attempts, s.shells, s.commands, s.bytes, s.open
    )
}

/// A line at once, for whoever waits for it.
#[allow(clippy::print_stdout, reason = "this is a program")]
fn print(line: &str) {
    println!("{line}");
}
