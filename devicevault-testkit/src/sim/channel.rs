//! One channel of a connection: a shell, or a command without one.

use std::sync::Arc;

use russh::server::Msg;
use russh::{Channel, ChannelMsg};

use super::personality::Answer;
use super::quirk::Fate;
use super::shell;
use super::socket::Cut;
use super::state::State;
use super::terminal::{Gone, Size, Terminal};

/// Does what the client asks for, and closes the channel.
pub(super) async fn serve(channel: Channel<Msg>, device: Arc<State>, cut: Cut) {
    let (mut read, write) = channel.split();
    let mut size = None;
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::RequestPty { col_width, row_height, .. } => {
                size = Some(Size { columns: col_width, rows: row_height });
            }
            ChannelMsg::RequestShell { .. } => {
                let mut terminal = Terminal::new(read, write, device, cut, size);
                if shell::run(&mut terminal).await.is_ok() {
                    terminal.close(0).await;
                }
                return;
            }
            ChannelMsg::Exec { command, .. } => {
                let command = String::from_utf8_lossy(&command).into_owned();
                let mut terminal = Terminal::new(read, write, device, cut, size);
                if let Ok(status) = exec(&mut terminal, &command).await {
                    terminal.close(status).await;
                }
                return;
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    // Nothing was asked for; where the client is gone already there is nobody to tell.
    let _ = write.close().await;
}

async fn exec(terminal: &mut Terminal, command: &str) -> Result<u32, Gone> {
    let device = terminal.device.clone();
    device.ran(command);
    terminal.rest(terminal.manners.think).await?;
    let Some((answer, status)) = device.exec_answer(command) else { return Ok(1) };
    if let Answer::Text(text) = answer {
        let fate = Fate::of(&device.quirks(), command);
        terminal.print(&text, None, None, &fate).await?;
    }
    Ok(status)
}
