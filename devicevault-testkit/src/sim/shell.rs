//! The dialogue of a shell: prompt, command, answer.

use super::personality::{Answer, Mode};
use super::quirk::Fate;
use super::stats::count;
use super::terminal::{Gone, Terminal};

/// How often `enable` asks.
const TRIES: usize = 3;
/// Lines of a page on a terminal that does not say how many it has.
const PAGE: u32 = 24;

/// Until the client leaves, or is gone.
pub(super) async fn run(terminal: &mut Terminal) -> Result<(), Gone> {
    let device = terminal.device.clone();
    count(&device.counters.shells, 1);
    let page = terminal.size.map_or(0, |s| if s.rows == 0 { PAGE } else { s.rows });
    let mut mode = device.personality().begin(&device.facts(), page);
    terminal.print(device.greeting().as_bytes(), None, None, &Fate::default()).await?;
    if terminal.manners.asks_new_password {
        terminal.print(b"Your password has expired.\n\n", None, None, &Fate::default()).await?;
        terminal.send("New password: ").await?;
        terminal.read_line(false, 0).await?;
        return Ok(());
    }
    let mut answers = 0_usize;
    loop {
        terminal.rest(terminal.manners.slow_prompt).await?;
        let mut prompt = device.personality().prompt(&device.facts(), &mode);
        if terminal.manners.prompt_changes && answers > 0 {
            prompt.insert_str(0, "another-");
        }
        terminal.send(prompt.clone().into_bytes()).await?;
        let Some(typed) = terminal.read_line(true, prompt.len()).await? else { return Ok(()) };
        let command = String::from_utf8_lossy(&typed).trim().to_owned();
        if command.is_empty() {
            continue;
        }
        device.ran(&command);
        terminal.rest(terminal.manners.think).await?;
        match device.shell_answer(&mut mode, &command) {
            Answer::Nothing => {}
            Answer::Text(text) => {
                answers += 1;
                let fate = Fate::of(&device.quirks(), &command);
                let rows = if terminal.manners.pager_always { page } else { mode.page };
                let pager = device.personality().pager().filter(|_| rows > 1 && terminal.size.is_some());
                let own = device.personality().prompt(&device.facts(), &mode);
                let pause = terminal.manners.own_prompt.map(|pause| (own.as_bytes(), pause));
                terminal.print(&text, pager.map(|p| (p, rows)), pause, &fate).await?;
            }
            Answer::AskEnable => enable(terminal, &mut mode).await?,
            Answer::Leave => return leave(terminal).await,
        }
    }
}

async fn enable(terminal: &mut Terminal, mode: &mut Mode) -> Result<(), Gone> {
    let device = terminal.device.clone();
    for _ in 0..TRIES {
        terminal.send("Password: ").await?;
        let Some(typed) = terminal.read_line(false, 0).await? else { return Ok(()) };
        count(&device.counters.enable_attempts, 1);
        if device.enable().is_none_or(|secret| secret.as_bytes() == typed) {
            mode.privileged = true;
            return Ok(());
        }
    }
    terminal.print(b"% Bad secrets\n\n", None, None, &Fate::default()).await
}

async fn leave(terminal: &mut Terminal) -> Result<(), Gone> {
    if terminal.manners.asks_at_logout {
        terminal.send("The configuration has been modified. Save? [yes/no]: ").await?;
        terminal.read_line(true, 0).await?;
    }
    if terminal.manners.never_logs_out {
        return terminal.stall().await;
    }
    Ok(())
}
