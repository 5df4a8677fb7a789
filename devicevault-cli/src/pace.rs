//! How fast a round may go.

use std::time::Duration;

use clap::Args;
use devicevault_core::engine::Limits;

use crate::ui::human;

/// Bounds of a round.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How fast")]
pub(crate) struct Pace {
    /// Devices that are talked to at a time [default: 30]
    #[arg(long, value_name = "N", value_parser = count)]
    sessions: Option<usize>,
    /// Devices of one site that are talked to at a time [default: no bound of its own]
    #[arg(long, value_name = "N", value_parser = count)]
    sessions_per_site: Option<usize>,
    /// The shortest time from one conversation with a device to the next, retries included [default: none]
    #[arg(long, value_name = "DURATION", value_parser = human::positive_duration)]
    device_interval: Option<Duration>,
    /// Bytes a second from all devices together, such as 500k, 2M [default: as fast as they come]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bandwidth: Option<u64>,
}

fn count(s: &str) -> Result<usize, String> {
    match s.parse() {
        Ok(n @ 1..=100_000) => Ok(n),
        _ => Err("it has to be a number from 1 to 100000".to_owned()),
    }
}

/// Bytes a second: a whole number, in thousands with `k`, in millions with `M`, in thousand millions with `G`.
fn rate(s: &str) -> Result<u64, String> {
    let digits = s.trim_end_matches(['k', 'K', 'M', 'G']);
    let unit = match s.get(digits.len()..) {
        Some("") => 1,
        Some("k" | "K") => 1_000,
        Some("M") => 1_000_000,
        Some("G") => 1_000_000_000,
        _ => 0,
    };
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    bytes.filter(|n| *n > 0).ok_or_else(|| "write bytes a second: 500k, 2M".to_owned())
}

impl Pace {
    /// The engine's bounds, with what was given in place of theirs.
    pub(crate) fn over(&self, limits: Limits) -> Limits {
        let sessions = self.sessions.unwrap_or(limits.sessions);
        let per_site = self.sessions_per_site.or(limits.sessions_per_site);
        let interval = self.device_interval.or(limits.device_interval);
        let bandwidth = self.bandwidth.or(limits.bandwidth);
        limits
            .with_sessions(sessions)
            .with_sessions_per_site(per_site)
            .with_device_interval(interval)
            .with_bandwidth(bandwidth)
    }
}

/// Lets the process open as many files as these bounds may need, as far as the system allows: every device takes one,
/// and shells often allow no more than 1,024.
#[cfg(unix)]
pub(crate) fn allow_connections(limits: &Limits) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// What else is open: catalog, repositories, files that are being written.
    const OTHERS: usize = 512;
    let wanted = limits.sessions.saturating_add(limits.connecting).saturating_add(OTHERS) as u64;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|n| n >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(now.maximum.map_or(wanted, |most| most.min(wanted))), maximum: now.maximum };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(error = %e, "the limit on open files stays as it is");
    }
}

/// Elsewhere there is no such limit.
#[cfg(not(unix))]
pub(crate) fn allow_connections(_limits: &Limits) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_a_second() {
        let good = ["1", "500k", "2M", "1G", "18446744073709551615"].map(|s| rate(s).unwrap());
        assert_eq!(good, [1, 500_000, 2_000_000, 1_000_000_000, u64::MAX]);
        for bad in ["", "0", "k", "2kk", "2Mk", "-1", "1.5M", "99999999999999999999", "18446744073709551615k", "2MB"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_limit_on_open_files_is_never_lowered() {
        let current = || rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let before = current();
        allow_connections(&Limits::default().with_sessions(1));
        assert!(current().is_none() || current() >= before);
    }
}
