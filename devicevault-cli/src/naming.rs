//! Which device a name means that several have had.

use devicevault_core::rebuild::{Meant, Named};
use devicevault_core::{DeviceId, Error, ErrorKind, Result};

use crate::ui::Ui;

/// The device that a name means. A person is told where it has another name by now, and where others have had this one.
/// `None`: no device was ever called so.
///
/// # Errors
/// `Conflict` where several were called so, and none is any more.
pub(crate) fn settle(named: &Named, name: &str, ui: &Ui) -> Result<Option<DeviceId>> {
    let quoted = name.escape_debug();
    let called = |id: &DeviceId| format!("{id} (now {})", named.name_of(id).unwrap_or_default().escape_debug());
    match named.meant(name) {
        Meant::Now(device, others) => {
            for other in others {
                ui.warn(&format!(
                    "{quoted} is a name that another device has had too; its versions open as {}",
                    called(&other)
                ));
            }
            Ok(Some(device))
        }
        Meant::Once(device, now) => {
            ui.warn(&format!("{quoted} is called {} by now", now.escape_debug()));
            Ok(Some(device))
        }
        Meant::Several(devices) => {
            let devices: Vec<_> = devices.iter().map(called).collect();
            let why = "several devices were called so, and none is any more";
            Err(Error::new(ErrorKind::Conflict, "find device", why)
                .with("name", quoted)
                .hint(format!("name the one that is meant by its identity: {}", devices.join(", "))))
        }
        _ => Ok(None),
    }
}
