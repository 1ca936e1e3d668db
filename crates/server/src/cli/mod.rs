//! The verbs of the binary, one file each.

mod bench;
mod chat;
mod config;
mod connect;
mod kick;
mod memory;
mod publish;
mod room;
mod rooms;
mod serve;
mod subscribe;
mod text;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A room server: clients on any transport join rooms and hear one order.
#[derive(Debug, Parser)]
#[command(
    name = "roomcast",
    version,
    about,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  roomcast                                   a server here: ws 7400, tcp 7401, udp 7402, quic 7403,
                                             enet 7404
  roomcast chat --room lobby --name Mina     talk in a room of that server
  roomcast chat ws://example.org:7400        the same on another server
  nc 127.0.0.1 7401                          then type {\"type\":\"join\",\"room\":\"lobby\"}
  roomcast config init                       a file with the settings people change first
  roomcast --listen wss://0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem

Clients read ROOMCAST_URL and ROOMCAST_TOKEN where no URL or token is given.
Exit codes: 0 done, 1 failed, 2 the command line was not understood."
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server (what happens without a verb).
    Serve(serve::Args),
    /// Talk in a room from the terminal.
    Chat(chat::Args),
    /// Publish one event, or one for each line of standard input.
    Pub(publish::Args),
    /// Print what is said in rooms.
    Sub(subscribe::Args),
    /// List the rooms.
    Rooms(rooms::Args),
    /// Show one room: members, history.
    Room(room::Args),
    /// Put somebody out of a room.
    Kick(kick::Args),
    /// Make a token, or look at one.
    Token(token::Args),
    /// Say step by step what a token allows in a room.
    Explain(token::explain::Args),
    /// Make, check or print a configuration.
    Config(config::Args),
    /// Put load on a server and measure.
    Bench(bench::Args),
    /// Print the version.
    Version,
}

/// Runs the verb of the command line. Exit codes: 0, 1 failure, 2 usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.verb.unwrap_or(Verb::Serve(cli.serve)) {
        Verb::Serve(args) => serve::run(args),
        Verb::Chat(args) => chat::run(args),
        Verb::Pub(args) => publish::run(args),
        Verb::Sub(args) => subscribe::run(args),
        Verb::Rooms(args) => rooms::run(args),
        Verb::Room(args) => room::run(args),
        Verb::Kick(args) => kick::run(args),
        Verb::Token(args) => token::run(args),
        Verb::Explain(args) => token::explain::run(args),
        Verb::Config(args) => config::run(args),
        Verb::Bench(args) => bench::run(args),
        Verb::Version => {
            println!("roomcast {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("roomcast: {error:#}");
        ExitCode::FAILURE
    })
}
