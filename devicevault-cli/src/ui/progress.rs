//! Live progress of a round: how many devices are done, and which ones take longest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use devicevault_core::{Clock, DeviceId, Event, EventSink, RunId, TaskId, Timestamp};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Ui, escape, human};

/// So many of the devices that are under way are shown.
const SHOWN: usize = 5;
/// How often the lines are drawn anew.
const TICK: Duration = Duration::from_millis(200);

/// Is told events; knows which runs are under way.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    active: HashMap<RunId, Active>,
    /// Devices that are left alone until then.
    resting: HashMap<DeviceId, Timestamp>,
    done: usize,
    failed: usize,
}

/// A run that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    /// The run.
    pub(crate) run: RunId,
    /// The attempt.
    pub(crate) task_id: TaskId,
    device_name: String,
    attempt: u32,
    since: Duration,
    what: String,
}

impl Progress {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is under way, oldest first.
    pub(crate) fn under_way(&self) -> Vec<Active> {
        let mut all: Vec<_> = self.state().active.values().cloned().collect();
        all.sort_by_key(|a| a.since);
        all
    }

    /// How many devices are left alone yet, and when the next one is not.
    fn rest(&self) -> Option<String> {
        let now = self.clock.now();
        let state = self.state();
        let left = |until: &Timestamp| Duration::try_from(until.duration_since(now)).ok().filter(|d| !d.is_zero());
        let left: Vec<_> = state.resting.values().filter_map(left).collect();
        let next = human::duration(left.iter().min().copied()?);
        Some(match left.len() {
            1 => format!("1 device rests yet, for {next}"),
            n => format!("{n} devices rest yet, the next for {next}"),
        })
    }

    /// Says once that devices rest, where nothing else is done: it would look as if it hung.
    async fn tell_rest(&self, ui: &Ui) {
        loop {
            tokio::time::sleep(TICK).await;
            if let Some(rest) = self.rest().filter(|_| self.under_way().is_empty()) {
                ui.note(&rest);
                return std::future::pending().await;
            }
        }
    }

    /// Draws until it is dropped; `total` devices are to be done.
    pub(crate) async fn draw(&self, ui: &Ui, total: usize) {
        if ui.bars().is_hidden() {
            return self.tell_rest(ui).await;
        }
        let bars = Bars::new(ui, total);
        let begun = self.clock.monotonic();
        loop {
            let (done, failed) = {
                let state = self.state();
                (state.done, state.failed)
            };
            bars.overall.set_position(done as u64);
            let slowest = self.under_way();
            let now = self.clock.monotonic();
            let message = tally(done, failed, slowest.len(), now.saturating_sub(begun));
            let parts = [message, self.rest().unwrap_or_default()];
            bars.overall.set_message(parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("  "));
            for (i, bar) in bars.slowest.iter().enumerate() {
                bar.set_message(slowest.get(i).map_or_else(String::new, |a| a.line(now)));
            }
            tokio::time::sleep(TICK).await;
        }
    }
}

/// How many a second, how many failed, how many are under way.
fn tally(done: usize, failed: usize, under_way: usize, since: Duration) -> String {
    let mut parts = Vec::new();
    if done > 0 && since >= Duration::from_secs(1) {
        parts.push(format!("{:.1}/s", done as f64 / since.as_secs_f64()));
    }
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if under_way > SHOWN {
        parts.push(format!("{under_way} under way, the slowest:"));
    }
    parts.join("  ")
}

impl Active {
    fn line(&self, now: Duration) -> String {
        let took = human::duration(now.saturating_sub(self.since));
        let again = if self.attempt > 1 { format!(", attempt {}", self.attempt) } else { String::new() };
        format!("{}  {}  {took}{again}", escape::text(&self.device_name), self.what)
    }
}

impl EventSink for Progress {
    fn emit(&self, event: &Event) {
        let mut state = self.state();
        match event {
            Event::DeviceRests { device, until, .. } => {
                state.resting.insert(device.clone(), *until);
            }
            Event::RunStarted { run, task_id, device, device_name, attempt, .. } => {
                state.resting.remove(device);
                let active = Active {
                    run: *run,
                    task_id: *task_id,
                    device_name: device_name.clone(),
                    attempt: *attempt,
                    since: self.clock.monotonic(),
                    what: "connecting".to_owned(),
                };
                state.active.insert(*run, active);
            }
            Event::Progress { run, artefact, bytes } => {
                if let Some(active) = state.active.get_mut(run) {
                    active.what = format!("{artefact} {}", human::size(*bytes));
                }
            }
            Event::Collected { run } => {
                if let Some(active) = state.active.get_mut(run) {
                    "storing".clone_into(&mut active.what);
                }
            }
            Event::RunFinished { run } => {
                state.active.remove(&run.id);
            }
            _ => {}
        }
    }
}

impl Progress {
    /// A device is done with, retries included.
    pub(crate) fn finished(&self, good: bool) {
        let mut state = self.state();
        state.done += 1;
        state.failed += usize::from(!good);
    }
}

/// The lines on the terminal; gone when dropped.
struct Bars {
    overall: ProgressBar,
    slowest: Vec<ProgressBar>,
}

impl Bars {
    fn new(ui: &Ui, total: usize) -> Self {
        let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let overall = ui.bars().add(ProgressBar::new(total as u64));
        overall.set_style(style("{bar:30} {pos}/{len} devices  {elapsed}  {msg}").progress_chars("=> "));
        let slowest = (0..SHOWN.min(total)).map(|_| {
            let bar = ui.bars().add(ProgressBar::new_spinner());
            bar.set_style(style("  {msg}"));
            bar
        });
        Self { slowest: slowest.collect(), overall }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.slowest.iter().chain([&self.overall]).for_each(ProgressBar::finish_and_clear);
    }
}

/// A bar that counts, for work without devices.
pub(crate) fn counter(ui: &Ui, total: usize, what: &str) -> ProgressBar {
    let bar = ui.bars().add(ProgressBar::new(total as u64));
    let template = format!("{{bar:30}} {{pos}}/{{len}} {what}  {{elapsed}}");
    bar.set_style(
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "),
    );
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use devicevault_core::SystemClock;
    use devicevault_core::run::{NewRun, Run, Trigger};

    #[test]
    fn the_tally_says_what_there_is_to_say() {
        assert_eq!(tally(0, 0, 3, Duration::from_millis(300)), "");
        assert_eq!(tally(100, 0, 2, Duration::from_secs(8)), "12.5/s");
        assert_eq!(tally(100, 7, 30, Duration::from_secs(8)), "12.5/s  7 failed  30 under way, the slowest:");
    }

    #[test]
    fn runs_are_under_way_from_their_start_to_their_end() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let progress = Progress::new(clock.clone());
        assert_eq!(progress.rest(), None);
        let rests = |name: &str, until| Event::DeviceRests { device: name.into(), device_name: name.to_owned(), until };
        progress.emit(&rests("r1", Timestamp::MAX));
        progress.emit(&rests("r2", Timestamp::MIN));
        assert!(progress.rest().is_some_and(|rest| rest.starts_with("1 device rests yet, for ")));
        let start = NewRun::new("r1".into(), "r1", Trigger::Manual, clock.now());
        let run = Run::begun(RunId(start.task_id.0), start.clone());
        progress.emit(&Event::RunStarted {
            run: run.id,
            task_id: start.task_id,
            task_identifier: start.task_identifier.clone(),
            device: start.device.clone(),
            device_name: "r1\x1b".to_owned(),
            attempt: 2,
        });
        progress.emit(&Event::Progress { run: run.id, artefact: "running-config".to_owned(), bytes: 2048 });
        assert_eq!(progress.rest(), None);
        let active = progress.under_way();
        assert_eq!(active.len(), 1);
        assert_eq!(active[0].line(active[0].since), "r1\\u{1b}  running-config 2.00 KiB  0 ms, attempt 2");
        progress.emit(&Event::RunFinished { run: Box::new(run) });
        assert!(progress.under_way().is_empty());
    }
}
