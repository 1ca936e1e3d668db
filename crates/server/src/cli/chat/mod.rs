//! `roomcast chat`: talk in a room from the terminal, or from a script.

mod line;
mod prompt;
mod screen;
mod show;
mod talk;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use super::connect::{Access, URL, block_on};
use prompt::Keyboard;
use screen::Screen;
use talk::Talk;

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  roomcast chat
  roomcast chat tcp://127.0.0.1:7401 --room lobby --name Mina
  echo 'deploy is done' | roomcast chat --room ops --name ci

Commands:
  /join ROOM       take a seat, or turn to a room you are in
  /leave [ROOM]    give up the seat
  /rooms           which rooms there are
  /who [ROOM]      who is here
  /name NAME       be called otherwise
  /msg WHO TEXT    to one person only: a name in this room, a user or a session
  /help  /quit     (Ctrl-D and Ctrl-C leave too)

With standard input from a pipe, each line is said in the room (lines with / are commands), and
chat ends when all of them are acknowledged: with 0, or with 1 if one failed.")]
pub struct Args {
    /// The server: ws://, wss://, tcp://, tls://, udp://, quic:// or enet://. Several, separated by
    /// commas, are ways to the same server, the best first: one that works is taken, and named
    #[arg(env = "ROOMCAST_URL", default_value = URL, value_name = "URL", value_delimiter = ',')]
    url: Vec<String>,
    /// The room to begin in, as room or namespace/room
    #[arg(long, short, default_value = "lobby")]
    room: String,
    /// What others call you
    #[arg(long, short, env = "ROOMCAST_NAME")]
    name: Option<String>,
    /// Begin with so many of the last lines
    #[arg(long, default_value_t = 20, value_name = "N")]
    history: u32,
    #[command(flatten)]
    access: Access,
}

pub fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    if args.name.is_none() {
        args.name = std::env::var("USER").ok().filter(|user| !user.is_empty());
    }
    let colour = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let person = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    block_on(async {
        if person {
            let (keyboard, printer) = Keyboard::open()?;
            let mut talk = Talk::begin(args, Screen::terminal(printer, colour)).await?;
            talk.converse(keyboard).await
        } else {
            let mut talk = Talk::begin(args, Screen::plain(colour)).await?;
            talk.recite(super::publish::stdin_lines()).await
        }
    })
}
