//! Statement by statement: what each change leaves, once and again.

use std::time::Duration;

use devicevault_core::catalog::{CopyKey, Page, Query, RunQuery};
use devicevault_core::inventory::{DestinationConfig, Selector};
use devicevault_core::run::{ArtefactResult, CopyStatus, Outcome, RunState};
use devicevault_core::statistics::{StatisticsQuery, by_looking_at_all};
use devicevault_core::{
    Catalog as _, DestinationId, Device, DeviceId, ErrorKind, ErrorRecord, Inventory as _, Kind, RunId, StorageRef,
    View,
};
use devicevault_testkit::samples;

use super::{all_backups, ended, new_run, open, place, run_of, second};

fn damaged() -> ErrorRecord {
    ErrorRecord { kind: ErrorKind::Corrupt, message: "a bit flipped".to_owned(), hint: Some("repair it".to_owned()) }
}

#[tokio::test]
async fn a_run_reads_back_with_all_its_fields() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let start = new_run("core-rtr1", 1);
    let id = catalog.begin(&start).await.unwrap();
    assert_eq!(run_of(&catalog, id).await.state, RunState::Collecting);
    catalog.advance(id, RunState::Storing).await.unwrap();
    assert_eq!(run_of(&catalog, id).await.state, RunState::Storing);

    let mut run = ended(id, start.clone(), RunState::Partial);
    run.collected_at = Some(second(3));
    run.size_before = i64::MAX as u64;
    run.size_after = 7;
    run.error = Some(damaged());
    run.log = vec![devicevault_core::Note::warning("a line with \"quotes\" and \u{fffd}")];
    let mut artefact = ArtefactResult::new("running-config", Kind::Text, true);
    artefact.suspect = vec!["half its last size".to_owned()];
    artefact.copies = vec![devicevault_core::run::CopyResult::new(DestinationId::from("main"), View::Redacted)];
    run.artefacts = vec![artefact];
    catalog.record(id, vec![Outcome::End(run.clone())]).await.unwrap();
    assert_eq!(run_of(&catalog, id).await, run);
    // Again, and once more a beginning and a step that come late.
    catalog.record(id, vec![Outcome::End(run.clone())]).await.unwrap();
    assert_eq!(catalog.begin(&start).await.unwrap(), id);
    catalog.advance(id, RunState::Storing).await.unwrap();
    assert_eq!(run_of(&catalog, id).await, run);
}

#[tokio::test]
async fn steps_and_ends_that_cannot_be_are_refused() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let id = catalog.begin(&new_run("a", 1)).await.unwrap();
    assert_eq!(catalog.advance(RunId::generate(), RunState::Storing).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(catalog.advance(id, RunState::Failed).await.unwrap_err().kind(), ErrorKind::Internal);
    let not_over = ended(id, new_run("a", 1), RunState::Storing);
    assert_eq!(catalog.record(id, vec![Outcome::End(not_over)]).await.unwrap_err().kind(), ErrorKind::Internal);
    let other = ended(RunId::generate(), new_run("a", 1), RunState::Failed);
    assert_eq!(catalog.record(id, vec![Outcome::End(other)]).await.unwrap_err().kind(), ErrorKind::Internal);
    let known = new_run("b", 1);
    catalog.begin(&known).await.unwrap();
    let thief = RunId::generate();
    let e = catalog.record(thief, vec![Outcome::End(ended(thief, known, RunState::Failed))]).await.unwrap_err();
    assert_eq!((e.kind(), e.message()), (ErrorKind::Conflict, "another run has this task id"));
    let mut huge = ended(id, new_run("a", 1), RunState::Failed);
    huge.size_before = u64::MAX;
    assert_eq!(catalog.record(id, vec![Outcome::End(huge)]).await.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_record_is_taken_whole_or_not_at_all() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let run = RunId::generate();
    let good = samples::backup("a", "running-config", run, second(1), &["main"]);
    let gone = samples::backup("a", "running-config", run, second(1), &["main"]).id;
    let outcomes =
        vec![Outcome::Backup(good.clone()), Outcome::Extended { backup: gone, destinations: vec![], seen: second(2) }];
    assert_eq!(catalog.record(run, outcomes).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(all_backups(&catalog).await.is_empty());
    catalog.record(run, vec![Outcome::Backup(good.clone())]).await.unwrap();
    assert_eq!(all_backups(&catalog).await, [good]);
}

#[tokio::test]
async fn a_backup_reads_back_with_all_its_fields_and_what_is_known_of_it_stays() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let run = RunId::generate();
    let mut backup = samples::backup("Zürich 3", "full-state", run, second(5), &["archive", "main"]);
    backup.kind = Kind::Binary;
    backup.extension = "tgz".to_owned();
    backup.size = 250 << 20;
    backup.suspect = vec!["end marker missing".to_owned(), "50 % smaller".to_owned()];
    backup.pinned = true;
    backup.metadata = [("ticket".to_owned(), "NET-42 \u{1f525}".to_owned())].into();
    backup.copies[0].status = CopyStatus::Failed;
    backup.copies[0].storage_ref = None;
    backup.copies[0].error = Some(damaged());
    backup.copies[1].verified_at = Some(second(9));
    catalog.record(run, vec![Outcome::Backup(backup.clone())]).await.unwrap();
    catalog.record(run, vec![Outcome::Backup(backup.clone())]).await.unwrap();
    assert_eq!(all_backups(&catalog).await, [backup.clone()]);

    // A later run stores the copy that failed: it knows nothing of the other one, and would not pin it.
    let mut later = backup.clone();
    later.pinned = false;
    later.metadata.clear();
    later.last_seen = second(20);
    later.copies = vec![samples::copy("archive", "object", second(20))];
    catalog.record(RunId::generate(), vec![Outcome::Backup(later.clone())]).await.unwrap();
    let mut want = backup;
    want.last_seen = second(20);
    want.copies[0] = later.copies.remove(0);
    assert_eq!(all_backups(&catalog).await, [want]);
}

#[tokio::test]
async fn validity_is_extended_and_never_taken_back() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let run = RunId::generate();
    let backup = samples::backup("a", "running-config", run, second(10), &["git", "main"]);
    let extend =
        |seen| Outcome::Extended { backup: backup.id, destinations: vec!["main".into(), "nowhere".into()], seen };
    catalog.record(run, vec![Outcome::Backup(backup.clone()), extend(second(30))]).await.unwrap();
    // The clock was set back.
    catalog.record(RunId::generate(), vec![extend(second(20))]).await.unwrap();
    let found = all_backups(&catalog).await.remove(0);
    assert_eq!((found.first_seen, found.last_seen), (second(10), second(30)));
    assert_eq!((found.copies[0].last_seen, found.copies[1].last_seen), (second(10), second(30)));
    assert_eq!(found.copies[1].status, CopyStatus::Stored);
}

#[tokio::test]
async fn a_late_report_does_not_take_back_what_was_found_since() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let run = RunId::generate();
    let stored = samples::backup("a", "running-config", run, second(1), &["main"]);
    let mut waiting = stored.clone();
    waiting.copies[0].status = CopyStatus::Pending;
    waiting.copies[0].storage_ref = None;
    let key = CopyKey { backup: stored.id, destination: "main".into() };
    let status = async || all_backups(&catalog).await.remove(0).copies.remove(0).status;

    catalog.record(run, vec![Outcome::Backup(waiting.clone())]).await.unwrap();
    assert_eq!(catalog.pending().await.unwrap().len(), 1);
    catalog.record(run, vec![Outcome::Backup(stored.clone())]).await.unwrap();
    catalog.record(run, vec![Outcome::Backup(waiting.clone())]).await.unwrap();
    assert_eq!((status().await, catalog.pending().await.unwrap().len()), (CopyStatus::Stored, 0));

    catalog.verified(&key, Err(damaged())).await.unwrap();
    catalog.record(run, vec![Outcome::Backup(stored.clone())]).await.unwrap();
    assert_eq!(status().await, CopyStatus::Damaged);

    // Stored again, really.
    let mut again = stored;
    again.copies[0].stored_at = second(50);
    catalog.record(RunId::generate(), vec![Outcome::Backup(again)]).await.unwrap();
    assert_eq!(status().await, CopyStatus::Stored);
}

#[tokio::test]
async fn verification_is_noted_and_takes_damage_back() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let run = RunId::generate();
    let backup = samples::backup("a", "running-config", run, second(1), &["main"]);
    catalog.record(run, vec![Outcome::Backup(backup.clone())]).await.unwrap();
    let key = CopyKey { backup: backup.id, destination: "main".into() };
    catalog.verified(&key, Err(damaged())).await.unwrap();
    let copy = all_backups(&catalog).await.remove(0).copies.remove(0);
    assert_eq!((copy.status, copy.error, copy.verified_at), (CopyStatus::Damaged, Some(damaged()), None));
    catalog.verified(&key, Ok(second(7))).await.unwrap();
    let copy = all_backups(&catalog).await.remove(0).copies.remove(0);
    assert_eq!((copy.status, copy.error, copy.verified_at), (CopyStatus::Stored, None, Some(second(7))));
    let nowhere = CopyKey { backup: backup.id, destination: "nowhere".into() };
    assert_eq!(catalog.verified(&nowhere, Ok(second(7))).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn deletion_marks_then_forgets_and_takes_the_backup_with_its_last_copy() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let run = RunId::generate();
    let backup = samples::backup("a", "running-config", run, second(1), &["git", "main"]);
    catalog.record(run, vec![Outcome::Backup(backup.clone())]).await.unwrap();
    let at = |i: usize| vec![StorageRef("never there".to_owned()), backup.copies[i].storage_ref.clone().unwrap()];
    catalog.mark(&"git".into(), &at(0)).await.unwrap();
    assert_eq!(all_backups(&catalog).await[0].copies[0].status, CopyStatus::Marked);
    assert_eq!(all_backups(&catalog).await[0].copies[1].status, CopyStatus::Stored);
    for _ in 0..2 {
        catalog.forget(&"git".into(), &at(0)).await.unwrap();
        assert_eq!(all_backups(&catalog).await[0].copies.len(), 1);
    }
    catalog.forget(&"main".into(), &at(1)).await.unwrap();
    assert!(all_backups(&catalog).await.is_empty());
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip_while_backups_come_and_go() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let run = RunId::generate();
    // Many of the same second: ties are told apart by id.
    let backups: Vec<_> =
        (0..50).map(|n| samples::backup("a", "running-config", run, second(n / 10), &["main"])).collect();
    catalog.record(run, backups.iter().cloned().map(Outcome::Backup).collect()).await.unwrap();
    let mut want = backups;
    want.sort_by_key(|b| std::cmp::Reverse((b.first_seen, b.id)));
    let (mut got, mut page) = (Vec::new(), Page::first(7));
    loop {
        let paged = catalog.find(&Query::default(), page).await.unwrap();
        got.extend(paged.items);
        // A newer one, and one gone that was shown already, move nothing.
        let newer = samples::backup("b", "running-config", run, second(100), &["main"]);
        catalog.record(run, vec![Outcome::Backup(newer)]).await.unwrap();
        let shown = got.first().and_then(|b| b.copies[0].storage_ref.clone()).unwrap();
        catalog.forget(&"main".into(), &[shown]).await.unwrap();
        let Some(next) = paged.next else { break };
        page = Page::after(7, next);
    }
    assert_eq!(got, want);
    assert_eq!(catalog.find(&Query::default(), Page::first(0)).await.unwrap().items, []);
    let e = catalog.find(&Query::default(), Page::after(5, "'; DROP TABLE runs".to_owned())).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    assert_eq!(
        catalog.runs(&RunQuery::default(), Page::after(5, String::new())).await.unwrap_err().kind(),
        ErrorKind::Config
    );
}

#[tokio::test]
async fn a_lease_is_one_callers_until_it_is_given_back_or_ends() {
    let (_folder, path) = place();
    let (catalog, other) = (open(&path).await, open(&path).await);
    let device = DeviceId::from("core-rtr1");
    let minute = Duration::from_secs(60);
    let first = catalog.lease(&device, minute).await.unwrap().unwrap();
    assert_eq!(catalog.lease(&device, minute).await.unwrap(), None);
    assert_eq!(other.lease(&device, minute).await.unwrap(), None);
    assert!(other.lease(&DeviceId::from("another"), minute).await.unwrap().is_some());
    let longer = catalog.renew(&first, minute * 10).await.unwrap().unwrap();
    assert!(longer.expires > first.expires && longer.token == first.token);
    catalog.release(&longer).await.unwrap();
    catalog.release(&longer).await.unwrap();
    assert_eq!(catalog.renew(&longer, minute).await.unwrap(), None);
    // One that has ended is anybody's; whoever had it does not get it back.
    let ends_at_once = other.lease(&device, Duration::ZERO).await.unwrap().unwrap();
    let next = catalog.lease(&device, Duration::MAX).await.unwrap().unwrap();
    assert_ne!(next.token, ends_at_once.token);
    assert_eq!(other.renew(&ends_at_once, minute).await.unwrap(), None);
    other.release(&ends_at_once).await.unwrap();
    assert_eq!(other.lease(&device, minute).await.unwrap(), None);
}

#[tokio::test]
async fn a_catalog_that_was_dropped_holds_nothing() {
    let (_folder, path) = place();
    let (catalog, other) = (open(&path).await, open(&path).await);
    let device = DeviceId::from("core-rtr1");
    catalog.lease(&device, Duration::from_secs(600)).await.unwrap().unwrap();
    let run = catalog.begin(&new_run("core-rtr1", 1)).await.unwrap();
    other.pending().await.unwrap();
    assert!(!run_of(&other, run).await.state.is_final());
    drop(catalog);
    assert!(other.lease(&device, Duration::from_secs(600)).await.unwrap().is_some());
    other.pending().await.unwrap();
    let closed = run_of(&other, run).await;
    assert_eq!(closed.state, RunState::Failed);
    assert!(closed.finished_at.is_some());
    let error = closed.error.unwrap();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Cancelled, "interrupted: the process that ran it ended")
    );
}

#[tokio::test]
async fn calls_at_the_same_time_share_a_transaction_and_one_that_fails_fails_alone() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let calls = (0..200).map(|n| {
        let catalog = &catalog;
        async move {
            let run = RunId::generate();
            let backup = samples::backup(&format!("d{n}"), "running-config", run, second(n), &["main"]);
            let mut outcomes = vec![Outcome::Backup(backup)];
            if n % 3 == 0 {
                let gone = samples::backup("x", "y", run, second(n), &[]).id;
                outcomes.push(Outcome::Extended { backup: gone, destinations: vec![], seen: second(n) });
            }
            (n, catalog.record(run, outcomes).await)
        }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(|(n, answer)| answer.is_ok() == (n % 3 != 0)));
    assert_eq!(all_backups(&catalog).await.len(), answers.iter().filter(|(_, a)| a.is_ok()).count());
}

#[tokio::test]
async fn a_dropped_call_is_done_or_not_done() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    for n in 0..60_u64 {
        let run = RunId::generate();
        let two = ["a", "b"].map(|artefact| Outcome::Backup(samples::backup("d", artefact, run, second(1), &["main"])));
        let call = catalog.record(run, two.to_vec());
        let _ = tokio::time::timeout(Duration::from_micros(n * 40), call).await;
        let mut query = Query::default();
        query.run = Some(run);
        catalog.begin(&new_run("after", 1)).await.unwrap();
        let found = catalog.find(&query, Page::first(10)).await.unwrap().items.len();
        assert!(found == 0 || found == 2, "{found}");
    }
    assert!(catalog.check().await.unwrap().is_good());
}

#[tokio::test]
async fn the_inventory_takes_all_or_none_and_lists_by_name() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let mut a = Device::new("1", "alpha", "192.0.2.1", "cisco_ios");
    a.site = Some("zrh".to_owned());
    a.tags = ["core".to_owned(), "mpls".to_owned()].into();
    let mut b = Device::new("2", "beta", "192.0.2.2", "frr");
    b.enabled = false;
    b.group = Some("lab".to_owned());
    catalog.put_devices(&[b.clone(), a.clone()]).await.unwrap();
    let names = async |change: &dyn Fn(&mut Selector)| {
        let mut selector = Selector::default();
        change(&mut selector);
        let found = catalog.devices(&selector).await.unwrap();
        found.into_iter().map(|d| d.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&|_| ()).await, ["alpha"]);
    assert_eq!(names(&|s| s.disabled = true).await, ["alpha", "beta"]);
    assert_eq!(names(&|s| s.names = ["beta".to_owned(), "nobody".to_owned()].into()).await, ["beta"]);
    assert_eq!(names(&|s| s.tags = ["mpls".to_owned()].into()).await, ["alpha"]);
    assert_eq!(names(&|s| s.tags = ["edge".to_owned()].into()).await, [""; 0]);
    assert_eq!(names(&|s| s.site = Some("zrh".to_owned())).await, ["alpha"]);
    assert_eq!(names(&|s| (s.group, s.disabled) = (Some("lab".to_owned()), true)).await, ["beta"]);
    assert_eq!(names(&|s| s.platform = Some("frr".to_owned())).await, [""; 0]);

    // Names are swapped in one step; a name that another holds stops all.
    (a.name, b.name) = (b.name, a.name);
    catalog.put_devices(&[a.clone(), b.clone()]).await.unwrap();
    assert_eq!(names(&|s| s.disabled = true).await, ["alpha", "beta"]);
    let clash = [Device::new("3", "gamma", "192.0.2.3", "frr"), Device::new("4", "alpha", "192.0.2.4", "frr")];
    let e = catalog.put_devices(&clash).await.unwrap_err();
    assert_eq!((e.kind(), e.message()), (ErrorKind::AlreadyExists, "another device has this name"));
    let hostile = [Device::new("5", "../../etc/x", "192.0.2.5", "frr")];
    assert_eq!(catalog.put_devices(&hostile).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(names(&|s| s.disabled = true).await, ["alpha", "beta"]);
    assert!(catalog.remove_device(&"1".into()).await.unwrap());
    assert!(!catalog.remove_device(&"1".into()).await.unwrap());
    assert_eq!(catalog.devices(&Selector::default()).await.unwrap(), []);
}

#[tokio::test]
async fn thirty_thousand_devices_are_taken_at_once() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let many: Vec<_> =
        (0..30_000).map(|n| Device::new(format!("id-{n}"), format!("sw{n:05}"), "192.0.2.1", "frr")).collect();
    catalog.put_devices(&many).await.unwrap();
    catalog.put_devices(&many).await.unwrap();
    assert_eq!(catalog.devices(&Selector::default()).await.unwrap(), many);
}

#[tokio::test]
async fn destinations_are_kept_by_id_with_names_of_their_own() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    let main = DestinationConfig::new("main", "plain", View::Original).with_option("path", "/srv/backups");
    let git = DestinationConfig::new("git", "git", View::Redacted);
    catalog.put_destination(&main).await.unwrap();
    catalog.put_destination(&git).await.unwrap();
    let mut renamed = main.clone();
    renamed.name = "archive".to_owned();
    catalog.put_destination(&renamed).await.unwrap();
    assert_eq!(catalog.destinations().await.unwrap(), [renamed, git.clone()]);
    let mut thief = main;
    thief.name = "git".to_owned();
    assert_eq!(catalog.put_destination(&thief).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(catalog.remove_destination(&"main".into()).await.unwrap());
    assert!(!catalog.remove_destination(&"main".into()).await.unwrap());
    assert_eq!(catalog.destinations().await.unwrap(), [git]);
}

#[tokio::test]
async fn the_database_adds_up_what_looking_at_all_does() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    for n in 0..40_i64 {
        let device = format!("sw{}", n % 3);
        let start = new_run(&device, n * 40_000);
        let run = catalog.begin(&start).await.unwrap();
        let mut backup = samples::backup(&device, "running-config", run, second(n * 40_000), &["git", "main"]);
        backup.size = 1000 + n as u64;
        backup.copies[0].size = 700 + n as u64;
        backup.copies[1].status = [CopyStatus::Stored, CopyStatus::Failed, CopyStatus::Damaged][n as usize % 3];
        let mut end = ended(run, start, RunState::Succeeded);
        end.size_before = 5000;
        catalog.record(run, vec![Outcome::Backup(backup), Outcome::End(end)]).await.unwrap();
    }
    for device in [None, Some("sw1"), Some("nobody")] {
        for destination in [None, Some("git"), Some("main")] {
            for (days_since, runs) in [(None, false), (Some(second(400_000)), true)] {
                let mut wanted = StatisticsQuery::default();
                (wanted.device, wanted.destination) = (device.map(Into::into), destination.map(Into::into));
                (wanted.days_since, wanted.runs) = (days_since, runs);
                let mut slow = by_looking_at_all(&catalog, &wanted).await.unwrap();
                if let Some(collected) = slow.collected.as_mut().filter(|_| destination.is_some()) {
                    // What runs collected knows no destination.
                    let mut query = Query::default();
                    query.device = device.map(Into::into);
                    let all = catalog.find(&query, Page::first(1000)).await;
                    collected.new_bytes = all.unwrap().items.iter().map(|b| b.size).sum();
                }
                assert_eq!(catalog.statistics(&wanted).await.unwrap(), slow, "{wanted:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_name_stood_for_is_added_up_for_each_device() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    for (n, (device, name)) in
        [("d1", "core"), ("d2", "core"), ("d3", "edge"), ("d1", "renamed")].into_iter().enumerate()
    {
        let start = new_run(device, n as i64);
        let run = catalog.begin(&start).await.unwrap();
        let mut backup = samples::backup(device, "running-config", run, second(n as i64), &["main"]);
        backup.device_name = name.to_owned();
        let end = ended(run, start, RunState::Succeeded);
        catalog.record(run, vec![Outcome::Backup(backup), Outcome::End(end)]).await.unwrap();
    }
    for (name, devices) in [("core", vec!["d1", "d2"]), ("edge", vec!["d3"]), ("renamed", vec!["d1"]), ("", vec![])] {
        let mut wanted = StatisticsQuery::default();
        (wanted.device_name, wanted.runs) = (Some(name.to_owned()), true);
        let found = catalog.statistics(&wanted).await.unwrap();
        assert_eq!(found.tallies.iter().map(|t| t.device.0.as_str()).collect::<Vec<_>>(), devices, "{name}");
        assert!(found.tallies.iter().all(|t| t.amount.copies == 1));
        assert_eq!(found, by_looking_at_all(&catalog, &wanted).await.unwrap(), "{name}");
    }
}

#[tokio::test]
async fn what_was_seen_since_is_found() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    for n in 0..10_i64 {
        let run = RunId::generate();
        let backup = samples::backup("sw1", "running-config", run, second(n * 100), &["git"]);
        let id = backup.id;
        catalog.record(run, vec![Outcome::Backup(backup)]).await.unwrap();
        if n == 2 {
            let seen = Outcome::Extended { backup: id, destinations: vec!["git".into()], seen: second(5000) };
            catalog.record(run, vec![seen]).await.unwrap();
        }
    }
    let mut query = Query::default();
    (query.destination, query.seen_since) = (Some("git".into()), Some(second(800)));
    let found = catalog.find(&query, Page::first(2)).await.unwrap();
    assert_eq!(found.items.len(), 2);
    let rest = catalog.find(&query, Page::after(2, found.next.unwrap())).await.unwrap();
    assert_eq!((rest.items.len(), rest.items[0].last_seen, rest.next), (1, second(5000), None));
}
