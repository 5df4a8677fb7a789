//! The `devicevault` program.

fn main() -> std::process::ExitCode {
    devicevault_cli::App::new().run(std::env::args_os()).into()
}
