//! The collector `cli`: a platform's commands, given over a transport.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{ArtifactInfo, Collector, CollectorInfo, Error, ErrorKind, Note, Result, Sink, Target};
use tokio::time::Instant;

use crate::conversation::Conversation;
use crate::escape::brief;
use crate::options;
use crate::platform::{ArtefactRules, CommandRules, Platform, PlatformSet};
use crate::refusal::{Gate, Refusal};
use crate::remarks::Remarks;
use crate::transport::Dialer;

/// Collects what a platform's commands print. Its key is `cli`.
///
/// An answer reaches the sink as it becomes certain; memory does not grow with it. [`Sink::end`] is called when the
/// answer was seen to be complete and nothing but the prompt came before the next command's echo.
#[derive(Debug)]
pub struct CliCollector {
    info: CollectorInfo,
    platforms: Arc<PlatformSet>,
    dialer: Arc<dyn Dialer>,
}

impl CliCollector {
    /// The key that devices name it by.
    pub const KEY: &'static str = "cli";

    /// Knows these platforms and reaches devices by this dialer.
    #[must_use]
    pub fn new(platforms: Arc<PlatformSet>, dialer: Arc<dyn Dialer>) -> Self {
        let description = "Logs in to a device's command line and keeps what its show commands print.";
        Self { info: CollectorInfo::new(Self::KEY, "Command line", description), platforms, dialer }
    }
}

#[async_trait]
impl Collector for CliCollector {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, target: &Target) -> Result<Vec<ArtifactInfo>> {
        let platform = self.platforms.get(&target.device.platform)?;
        options::check(&target.device)?;
        options::channel(&target.device, platform.channel)?;
        Ok(platform.artefacts().cloned().collect())
    }

    async fn collect(&self, target: &Target, out: &mut dyn Sink) -> Result<()> {
        let platform = self.platforms.get(&target.device.platform)?;
        options::check(&target.device)?;
        let channel = options::channel(&target.device, platform.channel)?;
        let wanted: Vec<&ArtefactRules> = platform.artefacts.iter().filter(|a| out.wants(&a.info.name)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let link = self.dialer.dial(target, &platform).await?;
        for note in link.notes() {
            out.note(note);
        }
        // What lies on the way has times of its own.
        let spent = if target.device.jump.is_empty() { started.elapsed() } else { Duration::ZERO };
        let left = target.limits.login.saturating_sub(spent);
        let conversation = Conversation::begin(link, &platform, target, channel, left).await?;
        let remarks = Remarks::new(&platform.remarks);
        let mut visit = Visit { conversation, platform: &platform, remarks, open: false };
        for artefact in wanted {
            visit.artefact(artefact, out).await?;
        }
        visit.leave(out).await
    }

    async fn log_in(&self, target: &Target) -> Result<()> {
        let platform = self.platforms.get(&target.device.platform)?;
        options::check(&target.device)?;
        let channel = options::channel(&target.device, platform.channel)?;
        let started = Instant::now();
        let link = self.dialer.dial(target, &platform).await?;
        let left = target.limits.login.saturating_sub(started.elapsed());
        let mut conversation = Conversation::begin(link, &platform, target, channel, left).await?;
        // As everywhere, a logout that fails takes nothing back.
        let _ = conversation.log_out().await;
        conversation.close().await;
        Ok(())
    }
}

/// One conversation, artefact by artefact.
struct Visit<'a> {
    conversation: Conversation<'a>,
    platform: &'a Platform,
    remarks: Remarks<'a>,
    /// An artefact is begun and written, and waits for the next echo to tell that it was whole.
    open: bool,
}

/// What came of a command.
enum Outcome {
    Answered,
    /// `none`: the device says in known words that it has nothing to show.
    Refused {
        error: Error,
        none: bool,
    },
}

/// How much of an artefact was handed on.
#[derive(Default)]
struct Written {
    begun: bool,
    ends_in_line: bool,
    /// What the device said, without headings of ours.
    bytes: u64,
}

impl Visit<'_> {
    async fn artefact(&mut self, artefact: &ArtefactRules, out: &mut dyn Sink) -> Result<()> {
        let mut written = Written::default();
        let last = artefact.commands.len() - 1;
        for (at, command) in artefact.commands.iter().enumerate() {
            match self.command(artefact, command, &mut written, out).await? {
                Outcome::Answered => {}
                Outcome::Refused { error: e, .. } if command.optional && (at < last || written.begun || last == 0) => {
                    out.note(Note::info(e.to_string()));
                }
                Outcome::Refused { error: e, .. } if artefact.info.mandatory || written.begun => {
                    if !written.begun {
                        out.begin(artefact.info.clone()).await?;
                    }
                    return out.fail(e.with("artefact", &artefact.info.name)).await;
                }
                Outcome::Refused { error, none } => {
                    out.absent(artefact.info.clone(), error, none);
                    return Ok(());
                }
            }
        }
        if !written.begun {
            out.begin(artefact.info.clone()).await?;
        }
        // The headings of the commands are no text of the device.
        if artefact.commands.len() > 1 && written.bytes < artefact.info.min_size {
            let (came, least) = (written.bytes, artefact.info.min_size);
            out.note(Note::suspect(format!(
                "the device said {came} bytes to all commands, fewer than the {least} expected"
            )));
        }
        if self.conversation.goes_on().await {
            out.note(Note::suspect(STRAY));
        }
        self.open = true;
        Ok(())
    }

    /// Tries the spellings of a command until one is not refused.
    async fn command(
        &mut self,
        artefact: &ArtefactRules,
        command: &CommandRules,
        written: &mut Written,
        out: &mut dyn Sink,
    ) -> Result<Outcome> {
        let mut refused = None;
        let mut all_none = true;
        for (at, spelling) in command.spellings.iter().enumerate() {
            let marker = artefact.end_marker.as_ref();
            let asked = self.conversation.ask(spelling, &command.questions, marker, out).await;
            self.settle(out).await?;
            asked?;
            if written.begun && self.conversation.stray() {
                out.note(Note::suspect(STRAY));
            }
            let heading = (artefact.commands.len() > 1).then_some(spelling.as_str());
            let last = at + 1 == command.spellings.len();
            match self.answer(artefact, spelling, (heading, last), written, out).await? {
                Outcome::Answered => return Ok(Outcome::Answered),
                Outcome::Refused { error, none } => {
                    all_none &= none;
                    // That another spelling is not known says less than why this one was refused.
                    if !none || refused.is_none() {
                        refused = Some(error);
                    }
                }
            }
        }
        let none = || Error::new(ErrorKind::Internal, "run command", "the platform names no spelling of it");
        Ok(Outcome::Refused { error: refused.unwrap_or_else(none), none: all_none })
    }

    async fn answer(
        &mut self,
        artefact: &ArtefactRules,
        command: &str,
        (heading, last): (Option<&str>, bool),
        written: &mut Written,
        out: &mut dyn Sink,
    ) -> Result<Outcome> {
        let gate = Gate::new(&self.platform.failure, &artefact.info.rules.suspect);
        let mut gate = gate.may_be_none(!artefact.info.mandatory);
        let mut heading = heading.map(|h| format!("{} {h}\n", self.platform.comment));
        let refused = |why: String, none| {
            let error = Error::new(ErrorKind::Refused, "run command", why).with("command", brief(command));
            Ok(Outcome::Refused { error, none })
        };
        let mut handed_on = false;
        while let Some(piece) = self.conversation.next().await? {
            self.remarks.push(&piece).into_iter().for_each(|says| out.note(Note::warning(says)));
            if let Some(piece) = gate.push(piece) {
                handed_on = true;
                written.piece(artefact, heading.take(), piece, out).await?;
            }
        }
        self.remarks.end().into_iter().for_each(|says| out.note(Note::warning(says)));
        // A text that came is kept, and what the device says of it is a doubt: one file of many may have failed.
        let kept = self.conversation.has_answered() && (handed_on || last && gate.holds_text());
        if let Some(why) = self.conversation.failed().filter(|_| !kept) {
            return refused(why, false);
        }
        match gate.finish() {
            Err(Refusal { line, none }) => return refused(format!("the device refused it: {line}"), none),
            Ok(rest) => written.piece(artefact, heading.take(), rest.unwrap_or_default(), out).await?,
        }
        self.conversation.compare_ends().await;
        if let Some(doubt) = self.conversation.doubt() {
            out.note(Note::suspect(format!("{doubt} ('{}')", brief(command))));
        }
        Ok(Outcome::Answered)
    }

    /// Ends the artefact that waits for it.
    async fn settle(&mut self, out: &mut dyn Sink) -> Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        if self.conversation.stray() {
            out.note(Note::suspect(STRAY));
        }
        out.end().await
    }

    async fn leave(mut self, out: &mut dyn Sink) -> Result<()> {
        let failed = self.conversation.log_out().await;
        self.settle(out).await?;
        if let Some(why) = failed {
            out.note(Note::warning(why));
        }
        self.conversation.close().await;
        Ok(())
    }
}

const STRAY: &str = "more text came after the prompt that the answer was taken to end with";

impl Written {
    /// Hands a piece on, after the artefact's beginning and the command's heading where they are due.
    async fn piece(
        &mut self,
        artefact: &ArtefactRules,
        heading: Option<String>,
        piece: Bytes,
        out: &mut dyn Sink,
    ) -> Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            out.begin(artefact.info.clone()).await?;
            self.ends_in_line = true;
        } else if heading.is_some() {
            let gap: &'static [u8] = if self.ends_in_line { b"\n" } else { b"\n\n" };
            out.write(Bytes::from_static(gap)).await?;
        }
        if let Some(heading) = heading {
            out.write(heading.into()).await?;
            self.ends_in_line = true;
        }
        if let Some(last) = piece.last() {
            self.bytes += piece.trim_ascii().len() as u64;
            self.ends_in_line = *last == b'\n';
            out.write(piece).await?;
        }
        Ok(())
    }
}
