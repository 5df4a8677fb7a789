//! `devicevault credential test`

use clap::Args;
use devicevault_core::{LoginRef, Result, StepLimits, Target};
use serde::Serialize;

use super::All;
use crate::Exit;
use crate::context::Context;
use crate::interrupt::cancellable;
use crate::secrets::Secrets;

/// Log in to a device once with a credential, log out again, and say what happened. Nothing is collected.
///
/// It is tried once: whoever is wrong three times is locked out of many devices.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault credential test switches --device core-sw1")]
pub(crate) struct TestArgs {
    /// What it is called
    name: String,
    /// The device to log in to
    #[arg(long, value_name = "NAME")]
    device: String,
}

#[derive(Debug, Serialize)]
struct Tested {
    credential: String,
    device: String,
    user: String,
    /// Milliseconds from the first packet to the last.
    took_ms: u128,
}

pub(super) async fn run(context: &Context, args: TestArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    All::of(&instance).await?.named(&args.name)?;
    let mut device = instance.device(&args.device).await?;
    // The credential is tried, not what the device has of its own; only its user name stays.
    let username = device.login.username.take();
    device.login = LoginRef::default();
    device.login.credential = Some(args.name.clone());
    device.login.username = username;
    let login = Secrets::of(&instance).await?.login(&device).await?;
    let user = login.username.clone();
    let collector = instance.collectors.get(&device.collector)?;
    let target = Target::new(device, login).with_limits(StepLimits::default());
    let begun = context.clock().monotonic();
    cancellable(collector.log_in(&target))
        .await
        .map_err(|e| e.with("credential", args.name.escape_debug()).with("device", args.device.escape_debug()))?;
    let took = context.clock().monotonic().saturating_sub(begun);
    if context.ui.is_json() {
        let (credential, device) = (args.name, args.device);
        context.ui.json(&Tested { credential, device, user, took_ms: took.as_millis() })?;
    } else {
        let text = format!("{} lets {user} in with {} ({:.1} s)", args.device, args.name, took.as_secs_f64());
        context.ui.note(&text);
    }
    Ok(Exit::Done)
}
