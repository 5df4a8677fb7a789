//! A session that ends at any of its bytes: cut, closed or silent. What is handed on as beyond doubt is whole.

use std::sync::Arc;

use devicevault_collectors::{Channel, Piece, PlatformSet};

use crate::sessions::{all, mandatory, none};
use crate::traps::{Case, visit, wrong};

/// A session of a platform ends at each of these bytes: at every one over all platforms together.
const STEP: usize = 61;

#[tokio::test(start_paused = true)]
async fn whatever_byte_a_session_ends_at_no_part_of_a_text_is_taken_for_the_whole() {
    let set = Arc::new(PlatformSet::built_in());
    let (mut failed, mut whole, mut not) = (Vec::new(), 0, 0);
    for (index, (name, shows)) in all().iter().enumerate() {
        let platform = set.get(name).unwrap();
        if platform.channel() == Channel::Exec || shows.prompts.is_empty() {
            continue;
        }
        let case = Case::new(&platform, shows, shows.text(false, mandatory(&platform).min_size.max(300)));
        let text = [Case::sent(&case.text)];
        for bytes in (index % STEP..case.text.len() + 600).step_by(STEP) {
            for end in [Piece::Cut, Piece::Hangup, Piece::Stall] {
                let mut trap = case.never_wrong(format!("{end:?} after {bytes} bytes"), &text);
                trap.device = trap.device.ends_after(bytes, end);
                let got = visit(&set, &platform, trap.device.clone()).await;
                *(if matches!(&got, Ok((_, doubts)) if doubts.is_empty()) { &mut whole } else { &mut not }) += 1;
                failed.extend(wrong(&platform, &trap, &got).map(|why| format!("{name}: {}: {why}", trap.name)));
            }
        }
    }
    assert!(whole > 500 && not > 3000, "{whole} whole, {not} not: the bytes do not cover a session");
    none(&failed);
}
