//! What is kept for how long, by the program under a clock that is set: calendars, summer time, and clocks that leap.

use std::process::Command;

use devicevault_core::Timestamp;
use devicevault_testkit::sim::{SimDevice, Simulated};
use serde_json::Value;

use crate::devicevault::Answer;
use crate::process::program;
use crate::stores::Home;

/// A home whose program is told the time.
struct Told {
    home: Home,
    zone: &'static str,
}

impl Told {
    fn new(zone: &'static str) -> Self {
        let home = Home::with("", [SimDevice::cisco_ios("core-sw1")]);
        home.good(&["destination", "disable", "git"]);
        Self { home, zone }
    }

    /// Runs the program as if it were this time when it starts.
    fn run(&self, time: &str, args: &[&str]) -> Answer {
        let time: Timestamp = time.parse().expect("a time");
        let inner = self.home.person.program(&self.home.password(), &[&["--home", "home"], args].concat());
        let mut faketime = Command::new(program("faketime"));
        faketime.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        faketime.env("TZ", self.zone).env("FAKETIME_FMT", "%s").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        faketime.current_dir(inner.get_current_dir().expect("a folder"));
        faketime.args(["-f", &format!("@{}", time.as_second())]).arg(inner.get_program()).args(inner.get_args());
        Answer::of(&mut faketime)
    }

    #[track_caller]
    fn good(&self, time: &str, args: &[&str]) -> Answer {
        self.run(time, args).good()
    }

    /// A change, and a backup of it.
    fn changes(&self, time: &str) {
        self.home.fleet.devices().iter().for_each(Simulated::change_something);
        self.good(time, &["backup", "--all", "--quiet"]);
    }

    /// The running configurations that would stay under these rules: from which time on each was there, and why it stays.
    fn stays(&self, time: &str, rules: &[&str]) -> Vec<(String, String)> {
        let options: Vec<String> = rules.iter().map(|r| format!("retention.{r}")).collect();
        let set = options.iter().flat_map(|o| ["--option", o]).collect::<Vec<_>>();
        self.good(time, &[&["destination", "edit", "store"], &set[..]].concat());
        let planned = self.run(time, &["retention", "apply", "--dry-run", "--json"]);
        let plan = planned.json();
        // Where most would go, the run would ask for a person's word, and so it says.
        let asks = plan.as_array().expect("destinations").iter().any(|d| !d["error"].is_null());
        assert_eq!(planned.code, if asks { 3 } else { 0 }, "{planned:?}");
        let names = options.iter().filter_map(|o| o.split_once('=')).flat_map(|(name, _)| ["--remove-option", name]);
        self.good(time, &[&["destination", "edit", "store"], &names.collect::<Vec<_>>()[..]].concat());
        let store = plan.as_array().expect("destinations").iter().find(|d| d["destination"] == "store");
        let versions = store.expect("the store")["versions"].as_array().expect("versions");
        let of_config = versions.iter().filter(|v| v["artefact"] == "running-config" && v["stays"] == true);
        let text = |v: &Value, name: &str| v[name].as_str().expect("a text").to_owned();
        of_config.map(|v| (text(v, "first_seen")[..16].to_owned(), text(v, "reason"))).collect()
    }

    fn versions(&self) -> usize {
        self.home.good(&["history", "--json", "--limit", "1000"]).json().as_array().expect("a list").len()
    }
}

/// Of a day of November 2026, at two in the morning; each day a minute later, so that no rule ends at a backup.
fn day(day: u32) -> String {
    format!("2026-11-{day:02}T02:{day:02}:00Z")
}

fn days(stays: &[(String, String)]) -> Vec<&str> {
    stays.iter().map(|(time, _)| &time[8..10]).collect()
}

#[test]
#[ignore = "needs faketime"]
#[allow(clippy::print_stdout, reason = "a test tells how much it did")]
fn every_rule_keeps_what_it_says_and_no_clock_that_leaps_lets_anything_go() {
    let told = Told::new("UTC");
    for n in 1..=25 {
        told.changes(&day(n));
    }
    let now = "2026-11-25T12:00:00Z";
    let stays = |rules: &[&str]| told.stays(now, rules);
    assert_eq!(stays(&["forever=true"]).len(), 25);
    assert_eq!(days(&stays(&["last=3"])), ["25", "24", "23"]);
    assert_eq!(days(&stays(&["days=3"])), ["25", "24", "23"]);
    assert_eq!(days(&stays(&["last=10", "max_count=2"])), ["25", "24"]);
    assert_eq!(days(&stays(&["last=10", "max_days=2"])), ["25", "24"]);
    assert_eq!(days(&stays(&["last=10", "max_size=1"])), ["25"], "the newest stays");
    // 2026-11-22 and 2026-11-15 were Sundays; day 20782 after 1970-01-01, the 25th, is divisible by two and not by four.
    let gfs = stays(&["daily=2", "weekly=3", "monthly=2"]);
    assert_eq!(days(&gfs), ["25", "24", "22", "15"], "{gfs:?}");
    assert_eq!((&*gfs[1].1, &*gfs[2].1), ("daily", "weekly"));
    assert_eq!(days(&stays(&["hanoi=4"])), ["25", "24", "23", "19"]);
    let pinned = told.good(now, &["retention", "pin", "core-sw1", "--backup", "latest~20", "--json"]).json();
    let with_pinned = stays(&["last=1"]);
    assert_eq!((days(&with_pinned), &*with_pinned[1].1), (vec!["25", "05"], "pinned"), "{pinned}");

    // A day back: versions go on in their order, and retention asks for a person's word.
    told.good(now, &["destination", "edit", "store", "--option", "retention.days=7"]);
    told.changes("2026-11-24T12:00:00Z");
    let all = told.versions();
    let refused = told.run("2026-11-24T13:00:00Z", &["retention", "apply"]);
    assert!(refused.code == 1 && refused.err.contains("--trust-clock"), "{refused:?}");
    let shown =
        told.good(now, &["history", "core-sw1", "--artefact", "running-config", "--limit", "2", "--json"]).json();
    let seen = |n: usize| shown[n]["first_seen"].as_str().and_then(|t| t.parse::<Timestamp>().ok()).expect("a time");
    assert!(seen(0) > seen(1), "{shown}");

    // Ten years ahead, with a backup that finds nothing new, and one that does.
    for leapt in ["2036-11-25T12:00:00Z", "2036-11-25T13:00:00Z"] {
        told.good(leapt, &["backup", "--all", "--quiet"]);
        for word in [&[][..], &["--allow-mass-deletion"]] {
            let refused = told.run(leapt, &[&["retention", "apply"], word].concat());
            assert!(refused.code == 1 && refused.err.contains("leapt ahead"), "{refused:?}");
        }
        told.home.fleet.devices().iter().for_each(Simulated::change_something);
    }
    told.good("2036-11-25T14:00:00Z", &["backup", "--all", "--quiet"]);
    let all = (all + 1, told.versions());
    assert_eq!(all.0 + 1, all.1);

    // Right again: backups go on, and what they find is the latest.
    told.changes(&day(26));
    let refused = told.run(&day(26), &["retention", "apply"]);
    assert!(refused.code == 1 && refused.err.contains("before the newest backup"), "{refused:?}");
    assert_eq!(told.versions(), all.1 + 1);
    let shown = told.good(&day(26), &["show", "core-sw1", "--view", "original"]).out;
    let config = String::from_utf8_lossy(&told.home.fleet.devices()[0].config()).into_owned();
    let line = config.lines().find(|l| l.contains("description ")).expect("a description");
    assert!(shown.contains(line), "{line}: {shown}");
    // A catalog that is made anew has them in their order, and tells which are dated ahead.
    let rebuilt = told.run(&day(26), &["catalog", "rebuild", "--from", "store", "--dry-run", "--json"]);
    assert_eq!(rebuilt.code, 3, "what was seen in the future is not believed: {rebuilt:?}");
    let rebuilt = rebuilt.json();
    let ahead = rebuilt["ahead"].as_array().expect("a list");
    let is_ahead = |v: &Value| v["first_seen"].as_str().is_some_and(|t| t.starts_with("2036-11-25"));
    assert!(ahead.len() >= 3 && ahead.iter().all(is_ahead), "{rebuilt}");
    let warned = told.run(&day(26), &["catalog", "rebuild", "--from", "store", "--dry-run"]);
    assert!(warned.err.contains("a clock was ahead"), "{warned:?}");
    // By a time, what came since is not found, and that is told.
    let restore = ["restore", "core-sw1", "running-config", "--at", "2026-11-26T03:00:00Z", "--to", "then.cfg"];
    let restored = told.good("2026-11-26T04:00:00Z", &restore);
    assert!(restored.err.contains("times that have not come yet"), "{restored:?}");
    // With a person's word, what the rule keeps by the right time stays, and nothing is damaged.
    told.good(&day(26), &["retention", "apply", "--trust-clock"]);
    let left = told.good(&day(26), &["history", "core-sw1", "--artefact", "running-config", "--json"]).json();
    let seen: Vec<&str> = left.as_array().expect("a list").iter().filter_map(|v| v["first_seen"].as_str()).collect();
    for kept in 20..=25 {
        assert!(seen.iter().any(|t| t.starts_with(&format!("2026-11-{kept}"))), "{kept}: {seen:?}");
    }
    assert!(!seen.iter().any(|t| t.starts_with("2026-11-10")), "{seen:?}");
    assert!(seen.iter().any(|t| t.starts_with("2026-11-05")), "it is pinned: {seen:?}");
    told.good(&day(26), &["verify", "--quiet"]);
    println!(
        "10 sets of rules over 25 days; 3 leaps of the clock; {} of {} versions kept at the end",
        seen.len(),
        all.1 + 1
    );
}

#[test]
#[ignore = "needs faketime"]
fn what_is_found_no_more_is_told_when_it_is_restored() {
    let told = Told::new("UTC");
    told.changes(&day(1));
    let all = ["restore", "core-sw1", "--to", "all/"];
    let restored = told.good(&day(2), &all);
    assert!(!restored.err.contains("may be gone"), "{restored:?}");
    told.good(&day(3), &["backup", "--all", "--artefact", "running-config", "--quiet"]);
    let restored = told.good(&day(3), &[&all[..], &["--force"]].concat());
    assert!(restored.err.contains("inventory was found last at 2026-11-01"), "{restored:?}");
    assert!(!restored.err.contains("running-config was found last"), "{restored:?}");
}

#[test]
#[ignore = "needs faketime"]
fn an_hour_that_comes_twice_is_two_hours_and_days_are_those_of_the_zone() {
    let told = Told::new("Europe/Zurich");
    // On the 25th it is half past two twice: in summer time, and an hour later in winter time.
    for time in [
        "2026-10-23T21:30:00Z",
        "2026-10-23T22:30:00Z",
        "2026-10-24T23:30:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
    ] {
        told.changes(time);
    }
    let now = "2026-10-25T01:40:00Z";
    let hours = told.stays(now, &["hourly=3"]);
    let times: Vec<&str> = hours.iter().map(|(t, _)| &t[11..]).collect();
    assert_eq!(times, ["01:30", "00:30", "23:30"], "{hours:?}");
    // Half past eleven in the evening of the 23rd, and half past midnight of the 24th.
    let days = told.stays(now, &["daily=3"]);
    let times: Vec<&str> = days.iter().map(|(t, _)| &**t).collect();
    assert_eq!(times, ["2026-10-25T01:30", "2026-10-23T22:30", "2026-10-23T21:30"], "{days:?}");
    let spring = Told::new("Europe/Zurich");
    for time in ["2026-03-28T00:30:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"] {
        spring.changes(time);
    }
    let days = spring.stays("2026-03-30T01:00:00Z", &["daily=3"]);
    let times: Vec<&str> = days.iter().map(|(t, _)| &t[8..]).collect();
    assert_eq!(times, ["30T00:30", "29T01:30", "28T00:30"], "{days:?}");
    println!("2 changes between summer and winter time: 3 sets of rules over 9 versions");
}
