//! Starts the game: the page, the listener for clients of the original, and bots if wanted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use roomcast::ServerHandle;
use roomcast_client::Client;
use words_battle::bots::{Bot, NAMES};
use words_battle::game::PLAYERS_MAX;
use words_battle::words::Words;
use words_battle::{Setup, lobby, site};

/// Words Battle: a word game for two to ten.
#[derive(Parser)]
struct Flags {
    /// Where the page is; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7480")]
    page: SocketAddr,
    /// Where clients written for the original game connect (at any path); port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7481")]
    mesh: SocketAddr,
    /// A host name or address under which others open the page, beside localhost.
    #[arg(long)]
    host: Vec<String>,
    /// So many bots, 1 to 9, wait in a room for you and whom you invite; they come back after each
    /// game.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=9))]
    bots: u8,
    /// The bots play one game among themselves, headless; then the program ends. Needs 2 or more.
    #[arg(long, requires = "bots")]
    headless: bool,
    /// How long a second of the game lasts, in milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    second_ms: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let mut hosts = flags.host.clone();
    if !flags.page.ip().is_loopback() && !flags.page.ip().is_unspecified() {
        hosts.push(flags.page.ip().to_string());
    }
    let listen = vec![format!("ws://{}?dialect=mesh", flags.mesh)];
    let server = words_battle::start(Setup { listen, hosts, second_ms: flags.second_ms })?;
    let listener = tokio::net::TcpListener::bind(flags.page)
        .await
        .with_context(|| format!("the page cannot be at {}: choose another --page", flags.page))?;
    let page = listener.local_addr()?;
    println!("Words Battle: open http://{page}/");
    for listener in server.listeners() {
        println!("Clients of the original game: {}/wsmesh", listener.url);
    }
    let app = site::app(&server);
    tokio::spawn(async move { axum::serve(listener, app).await });
    if flags.bots > 0 {
        play(&server.handle(), &flags, page).await?;
    }
    if !flags.headless {
        tokio::signal::ctrl_c().await?;
    }
    tokio::task::spawn_blocking(move || server.drain_and_stop()).await?;
    Ok(())
}

/// The bots' room: one game among themselves, or game after game with whoever comes.
async fn play(server: &ServerHandle, flags: &Flags, page: SocketAddr) -> Result<()> {
    let room = "bots";
    let headless = flags.headless;
    anyhow::ensure!(!headless || flags.bots > 1, "a game needs two: --bots 2 or more");
    let limit = if headless { usize::from(flags.bots.max(2)) } else { PLAYERS_MAX };
    let thinks_ms = if headless { 0 } else { flags.second_ms * 3 };
    if !headless {
        println!("Bots wait for you at http://{page}/?room={room}");
    }
    server.room(room).create(lobby::friends(limit as u64)).await?;
    let words = Arc::new(Words::english());
    let mut games = Vec::new();
    for (index, name) in NAMES.into_iter().take(flags.bots.into()).enumerate() {
        let bot = Bot {
            name: name.to_owned(),
            thinks: Duration::from_millis(thinks_ms + 400 * index as u64 * u64::from(!headless)),
            rests: Duration::from_millis(if headless { 0 } else { flags.second_ms * 8 }),
            errs_in: if headless { 0 } else { 4 + index },
        };
        let client = Client::connect(&format!("ws://{page}/ws")).await?;
        let (words, starts) = (Arc::clone(&words), usize::from(flags.bots + u8::from(!headless)));
        games.push(tokio::spawn(async move {
            loop {
                let board = bot.play(&client, room, &words, starts).await;
                if headless || board.is_err() {
                    return board;
                }
            }
        }));
    }
    if !headless {
        return Ok(());
    }
    let mut board = None;
    for game in games {
        board = Some(game.await??);
    }
    for (place, (name, score)) in board.iter().flat_map(|board| &board.players).enumerate() {
        println!("{}. {name}: {score}", place + 1);
    }
    if let Some(board) = board {
        println!("Words: {}", board.words.join(" "));
    }
    Ok(())
}
