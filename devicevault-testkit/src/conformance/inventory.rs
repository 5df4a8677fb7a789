//! What an [`Inventory`] promises.

use std::sync::Arc;

use devicevault_core::inventory::{Credential, DestinationConfig, Policy, Selector};
use devicevault_core::{Device, ErrorKind, Inventory, Result, SecretRef, View};

use super::case::{Case, Checked, Selection, Stop, cases, chooses_cases, ensure, ensure_eq, ensure_kind, run};
use super::place::{Opener, Places};
use super::report::Report;
use crate::samples;

/// Runs every case against the inventory that `make` opens; see [the module](super) for what a place is.
pub async fn inventory<M>(make: M) -> Report
where
    M: AsyncFn(&str) -> Result<Arc<dyn Inventory>>,
{
    InventorySuite::new(&make).run().await
}

/// The suite with its settings.
pub struct InventorySuite<'a> {
    opener: &'a dyn Opener<dyn Inventory>,
    selection: Selection,
}

chooses_cases!(InventorySuite);

impl<'a> InventorySuite<'a> {
    /// All cases against what is opened there.
    #[must_use]
    pub fn new(opener: &'a dyn Opener<dyn Inventory>) -> Self {
        Self { opener, selection: Selection::default() }
    }

    /// Runs the cases.
    pub async fn run(&self) -> Report {
        run("Inventory", list(), &self.selection, |case| Stage(Places { opener: self.opener, case })).await
    }
}

struct Stage<'a>(Places<'a, dyn Inventory>);

fn list<'a>() -> Vec<Case<Stage<'a>>> {
    cases![
        "devices": "devices are kept with all their fields, and listed by name" => devices,
        "devices-changed": "a device is changed by its id, its name too" => devices_changed,
        "device-names": "a name that another device holds is AlreadyExists, and nothing is stored" => device_names,
        "remove-device": "a device that is removed is gone; one that was not there is told" => remove_device,
        "selector": "a selector finds exactly what it means" => selector,
        "destinations": "destinations are kept with all their fields, and listed by name" => destinations,
        "destination-names": "a name that another destination holds is AlreadyExists" => destination_names,
        "credentials": "credentials are kept with all their fields and what is sealed, and listed by name" => credentials,
        "policies": "policies are kept with all their fields, and listed by name" => policies,
        "reopen": "what was stored is there after a restart" => reopen,
    ]
}

async fn all(inventory: &dyn Inventory) -> Result<Vec<Device>, Stop> {
    let mut everything = Selector::default();
    everything.disabled = true;
    Ok(inventory.devices(&everything).await?)
}

/// A device with everything in it.
fn full(name: &str) -> Device {
    let mut device = samples::device(name);
    device.host = "2001:db8::1".to_owned();
    device.port = Some(u16::MAX);
    device.collector = "custom".to_owned();
    device.site = Some("zürich 'one'".to_owned());
    device.group = Some("\"core\"".to_owned());
    device.tags = ["a", "b c"].map(str::to_owned).into();
    device.login.credential = Some("shared".to_owned());
    device.login.username = Some("admin".to_owned());
    device.login.password = Some(SecretRef::Env("PASSWORD".to_owned()));
    device.login.enable = Some(SecretRef::Command("print-secret --of 'x'".to_owned()));
    device.options = [("ssh.profile", "legacy"), ("", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    device.enabled = false;
    device
}

async fn devices(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    ensure_eq!(all(&*inventory).await?, Vec::new(), "an empty inventory has devices");
    inventory.put_devices(&[]).await?;
    let names = ["sw10", "sw2", "SW2", "\u{e9}toile", "a b", "core-sw1.example.net"];
    let mut given: Vec<_> = names.into_iter().map(samples::device).collect();
    given.push(full("full"));
    inventory.put_devices(&given).await?;
    given.sort_by(|a, b| a.name.cmp(&b.name));
    ensure_eq!(all(&*inventory).await?, given, "the devices are not those that were stored, by name");
    let enabled: Vec<_> = given.into_iter().filter(|d| d.enabled).collect();
    ensure_eq!(
        inventory.devices(&Selector::default()).await?,
        enabled,
        "an empty selector means those that are enabled"
    );
    Ok(())
}

async fn devices_changed(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    let (mut first, mut second) = (samples::device("sw1"), samples::device("sw2"));
    inventory.put_devices(&[first.clone(), second.clone()]).await?;
    first.name = "renamed".to_owned();
    first.site = Some("here".to_owned());
    inventory.put_devices(&[first.clone()]).await?;
    ensure_eq!(all(&*inventory).await?, vec![first.clone(), second.clone()], "the devices after a change");
    // Two devices change their names for each other's in one step.
    std::mem::swap(&mut first.name, &mut second.name);
    inventory.put_devices(&[first.clone(), second.clone()]).await?;
    ensure_eq!(all(&*inventory).await?, vec![second, first], "the devices after their names were exchanged");
    Ok(())
}

async fn device_names(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    let first = samples::device("sw1");
    inventory.put_devices(std::slice::from_ref(&first)).await?;
    let mut thief = samples::device("other");
    thief.name = "sw1".to_owned();
    let batch = [samples::device("a"), thief.clone(), samples::device("b")];
    ensure_kind(inventory.put_devices(&batch).await, ErrorKind::AlreadyExists, "a name that another device holds")?;
    let mut twin = samples::device("twin");
    twin.name = "a".to_owned();
    let batch = [samples::device("a"), twin];
    ensure_kind(inventory.put_devices(&batch).await, ErrorKind::AlreadyExists, "one name twice in a batch")?;
    ensure_eq!(all(&*inventory).await?, vec![first.clone()], "something was stored of a batch that was refused");
    inventory.remove_device(&first.id).await?;
    inventory.put_devices(&[thief.clone()]).await?;
    ensure_eq!(all(&*inventory).await?, vec![thief], "a name is not free after its device was removed");
    Ok(())
}

async fn remove_device(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    let (first, second) = (samples::device("sw1"), samples::device("sw2"));
    inventory.put_devices(&[first.clone(), second.clone()]).await?;
    ensure!(inventory.remove_device(&first.id).await?, "a device that was there is said not to have been");
    ensure!(!inventory.remove_device(&first.id).await?, "a device that was gone is said to have been there");
    ensure!(!inventory.remove_device(&"nobody".into()).await?, "a device that never was is said to have been there");
    ensure_eq!(all(&*inventory).await?, vec![second], "the devices after one was removed");
    Ok(())
}

async fn selector(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    let mut devices = Vec::new();
    for i in 0..24_usize {
        let mut device = samples::device(&format!("sw{i:02}"));
        device.site = [None, Some("zh"), Some("ZH")][i % 3].map(str::to_owned);
        device.group = [None, Some("core")][i % 2].map(str::to_owned);
        device.tags = [&[][..], &["a"], &["a", "b"]][i % 3].iter().map(|t| (*t).to_owned()).collect();
        device.platform = ["cisco_ios", "frr"][i % 2].to_owned();
        device.enabled = i % 5 != 0;
        devices.push(device);
    }
    inventory.put_devices(&devices).await?;
    let edits: [fn(&mut Selector); 10] = [
        |_| {},
        |s| s.site = Some("zh".to_owned()),
        |s| s.group = Some("core".to_owned()),
        |s| s.platform = Some("frr".to_owned()),
        |s| s.tags = ["a".to_owned()].into(),
        |s| s.tags = ["a", "b"].map(str::to_owned).into(),
        |s| s.names = ["sw00", "sw01", "nobody"].map(str::to_owned).into(),
        |s| s.disabled = true,
        |s| s.site = Some("nowhere".to_owned()),
        |s| s.platform = Some("frr%".to_owned()),
    ];
    for first in edits {
        for second in edits {
            let mut selector = Selector::default();
            first(&mut selector);
            second(&mut selector);
            let want: Vec<_> = devices.iter().filter(|d| selector.matches(d)).cloned().collect();
            ensure_eq!(inventory.devices(&selector).await?, want, "the devices under {selector:?}");
        }
    }
    Ok(())
}

async fn destinations(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    ensure_eq!(inventory.destinations().await?, Vec::new(), "an empty inventory has destinations");
    let mut git = DestinationConfig::new("git", "git", View::Redacted).with_option("path", "/srv/'x' \u{1f512}");
    let mut archive = DestinationConfig::new("archive", "plain", View::Original);
    archive.enabled = false;
    inventory.put_destination(&git).await?;
    inventory.put_destination(&archive).await?;
    ensure_eq!(inventory.destinations().await?, vec![archive.clone(), git.clone()], "the destinations, by name");
    git.name = "a new name".to_owned();
    git.enabled = false;
    inventory.put_destination(&git).await?;
    ensure_eq!(inventory.destinations().await?, vec![git.clone(), archive.clone()], "the destinations after a change");
    ensure!(inventory.remove_destination(&git.id).await?, "a destination that was there is said not to have been");
    ensure!(!inventory.remove_destination(&git.id).await?, "a destination that was gone is said to have been there");
    ensure_eq!(inventory.destinations().await?, vec![archive], "the destinations after one was removed");
    Ok(())
}

async fn destination_names(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    let first = DestinationConfig::new("main", "plain", View::Original);
    inventory.put_destination(&first).await?;
    let mut thief = DestinationConfig::new("other", "git", View::Clean);
    thief.name = "main".to_owned();
    ensure_kind(inventory.put_destination(&thief).await, ErrorKind::AlreadyExists, "a name that another holds")?;
    ensure_eq!(inventory.destinations().await?, vec![first], "something was stored that was refused");
    Ok(())
}

/// A credential with everything in it.
fn full_credential(name: &str) -> Credential {
    let mut credential = Credential::new(name, full(name).login, samples::BEGINNING);
    credential.login.password = Some(SecretRef::Stored("password".to_owned()));
    credential.sealed = Some((0..=u8::MAX).collect());
    credential.description = Some("the switches' \"login\" \u{1f512}".to_owned());
    credential.sites = ["zürich 'one'", "b"].map(str::to_owned).into();
    credential.default = true;
    credential
}

/// A policy with everything in it.
fn full_policy(name: &str) -> Policy {
    let mut policy = Policy::new(name);
    policy.devices.site = Some("zürich 'one'".to_owned());
    policy.devices.tags = ["a", "b c"].map(str::to_owned).into();
    policy.artefacts = ["running-config".to_owned()].into();
    policy.destinations = ["git", "archive"].map(str::to_owned).into();
    policy.credential = Some("shared".to_owned());
    policy.without_original = true;
    policy.metadata = [("owner".to_owned(), "net".to_owned())].into();
    policy.enabled = false;
    policy.options = [("retention.keep_last".to_owned(), "3".to_owned())].into();
    policy
}

/// An inventory that keeps none of them says so in every method.
fn is_unsupported<T>(answer: &Result<T>) -> bool {
    answer.as_ref().is_err_and(|e| e.kind() == ErrorKind::Unsupported)
}

async fn credentials(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    let before = inventory.credentials().await;
    if is_unsupported(&before) {
        let put = inventory.put_credential(&full_credential("x")).await;
        ensure_kind(put, ErrorKind::Unsupported, "credentials can be stored, and not be listed")?;
        let remove = inventory.remove_credential("x").await;
        return ensure_kind(remove, ErrorKind::Unsupported, "credentials can be removed, and not be listed");
    }
    ensure_eq!(before?, Vec::new(), "an empty inventory has credentials");
    let mut first = full_credential("switches");
    let others = ["Switches", "\u{e9}toile", "a b", "switches-2"];
    inventory.put_credential(&first).await?;
    let mut want = vec![first.clone()];
    for name in others {
        let plain = Credential::new(name, Default::default(), samples::BEGINNING);
        inventory.put_credential(&plain).await?;
        want.push(plain);
    }
    want.sort_by(|a, b| a.name.cmp(&b.name));
    ensure_eq!(inventory.credentials().await?, want, "the credentials are not those that were stored, by name");
    first.sealed = Some(Vec::new());
    first.login.enable = None;
    inventory.put_credential(&first).await?;
    want.iter_mut().filter(|c| c.name == first.name).for_each(|c| *c = first.clone());
    ensure_eq!(inventory.credentials().await?, want, "the credentials after a change");
    first.sealed = None;
    inventory.put_credential(&first).await?;
    want.iter_mut().filter(|c| c.name == first.name).for_each(|c| *c = first.clone());
    ensure_eq!(inventory.credentials().await?, want, "the credentials after the secrets of one were taken out");
    ensure!(inventory.remove_credential("switches").await?, "a credential that was there is said not to have been");
    ensure!(!inventory.remove_credential("switches").await?, "a credential that was gone is said to have been there");
    want.retain(|c| c.name != "switches");
    ensure_eq!(inventory.credentials().await?, want, "the credentials after one was removed");
    Ok(())
}

async fn policies(stage: &Stage<'_>) -> Checked {
    let inventory = stage.0.main().await?;
    let before = inventory.policies().await;
    if is_unsupported(&before) {
        let put = inventory.put_policy(&full_policy("x")).await;
        ensure_kind(put, ErrorKind::Unsupported, "policies can be stored, and not be listed")?;
        let remove = inventory.remove_policy("x").await;
        return ensure_kind(remove, ErrorKind::Unsupported, "policies can be removed, and not be listed");
    }
    ensure_eq!(before?, Vec::new(), "an empty inventory has policies");
    let (mut daily, bare) = (full_policy("daily"), Policy::new("Bare 'one'"));
    inventory.put_policy(&daily).await?;
    inventory.put_policy(&bare).await?;
    let both = vec![bare.clone(), daily.clone()];
    ensure_eq!(inventory.policies().await?, both, "the policies are not those that were stored, by name");
    daily.options.clear();
    daily.enabled = true;
    inventory.put_policy(&daily).await?;
    ensure_eq!(inventory.policies().await?, vec![bare.clone(), daily], "the policies after a change");
    ensure!(inventory.remove_policy("daily").await?, "a policy that was there is said not to have been");
    ensure!(!inventory.remove_policy("daily").await?, "a policy that was gone is said to have been there");
    ensure_eq!(inventory.policies().await?, vec![bare], "the policies after one was removed");
    Ok(())
}

async fn reopen(stage: &Stage<'_>) -> Checked {
    let (device, destination) = (full("sw1"), DestinationConfig::new("main", "plain", View::Original));
    let (credential, policy) = (full_credential("shared"), full_policy("daily"));
    {
        let inventory = stage.0.main().await?;
        inventory.put_devices(std::slice::from_ref(&device)).await?;
        inventory.put_destination(&destination).await?;
        for kept in [inventory.put_credential(&credential).await, inventory.put_policy(&policy).await] {
            if !is_unsupported(&kept) {
                kept?;
            }
        }
    }
    let inventory = stage.0.main().await?;
    ensure_eq!(all(&*inventory).await?, vec![device], "the devices after a restart");
    ensure_eq!(inventory.destinations().await?, vec![destination], "the destinations after a restart");
    let credentials = inventory.credentials().await;
    if !is_unsupported(&credentials) {
        ensure_eq!(credentials?, vec![credential], "the credentials after a restart");
    }
    let policies = inventory.policies().await;
    if !is_unsupported(&policies) {
        ensure_eq!(policies?, vec![policy], "the policies after a restart");
    }
    Ok(())
}
