//! Two of them at once.

use devicevault_testkit::sim::{Quirk, SimDevice};
use std::time::Duration;

use crate::sight::devices;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_talked_to_by_one_run_at_a_time() {
    let slow = SimDevice::cisco_ios("slow-sw").quirk(Quirk::ThinkTime(Duration::from_millis(100)));
    let (fleet, person) = devices([slow]).await;
    person.moves_in(&fleet).await;
    let args = ["backup", "slow-sw", "--json"];
    let (a, b) = tokio::join!(person.asks(&args), person.asks(&args));
    let (a, b) = (a.good().json(), b.good().json());
    let status = |rows: &serde_json::Value| rows[0]["status"].as_str().unwrap().to_owned();
    let mut both = [status(&a), status(&b)];
    both.sort();
    assert_eq!(both, ["stored", "unchanged"]);
    let versions = person.asks(&["history", "slow-sw", "--artefact", "running-config", "--json"]).await.good().json();
    assert_eq!(versions.as_array().unwrap().len(), 1);
    person.asks(&["verify"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_takes_several_runs_at_once() {
    let (fleet, person) = devices((0..4).map(|i| SimDevice::linux(format!("host{i}")))).await;
    let d = fleet.devices();
    let (a, b, c, e) = tokio::join!(
        person.backs_up(&d[0], &[]),
        person.backs_up(&d[1], &[]),
        person.backs_up(&d[2], &[]),
        person.backs_up(&d[3], &[])
    );
    for answer in [a, b, c, e] {
        answer.good();
    }
    for (i, device) in d.iter().enumerate() {
        let again = person.backs_up(device, &["--json"]).await.good().json();
        assert_eq!(again[0]["status"], "unchanged", "{i}: {again}");
    }
    person.asks(&["verify", "--from", "backups"]).await.good();
}
