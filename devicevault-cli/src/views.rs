//! Views of a stored original, made when they are looked at: by the rules of its platform as they are now.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use devicevault_core::text::{InstanceKey, LineEnds, TextRules, ViewMaker};
use devicevault_core::{Device, Login, Manifest, Result, Target, View};

use crate::collectors::Collectors;

/// Longer lines are refused.
const MAX_LINE: usize = 16 << 20;

/// Makes a view of an original.
///
/// # Errors
/// A line is longer than it may be.
pub(crate) fn make(
    collectors: &Collectors,
    key: &InstanceKey,
    manifest: &Manifest,
    original: Bytes,
    view: View,
) -> Result<Vec<u8>> {
    if view == View::Original {
        return Ok(original.into());
    }
    let rules = rules(collectors, manifest);
    let mut maker = ViewMaker::new(rules, key.clone(), manifest.source.device.clone(), MAX_LINE);
    let (mut plain, mut clean, mut redacted) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    let mut ends = LineEnds::default();
    ends.push(&original, &mut plain);
    ends.finish(&mut plain);
    maker.push(&plain, &mut clean, &mut redacted)?;
    maker.finish(&mut clean, &mut redacted);
    Ok(if view == View::Clean { clean } else { redacted }.into())
}

/// The rules of the artefact's platform. Where this program does not know the platform, those that hold for every text.
fn rules(collectors: &Collectors, manifest: &Manifest) -> Arc<TextRules> {
    let source = &manifest.source;
    let device = Device::new(source.device.clone(), &source.device_name, &source.host, &source.platform);
    let known = collectors
        .get(&source.collector)
        .and_then(|collector| collector.artefacts(&Target::new(device, Login::default())));
    match known {
        Ok(artefacts) => {
            artefacts.into_iter().find(|a| a.name == manifest.artefact).map(|a| a.rules).unwrap_or_default()
        }
        Err(e) => {
            tracing::warn!(event = "platform_unknown", device = %source.device_name, platform = %source.platform, error = %e);
            Arc::default()
        }
    }
}
