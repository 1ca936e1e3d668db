//! What every verb that talks to a running server shares: where it is, who asks, and what to say
//! when that fails.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use roomcast_client::{Builder, Client, Codec, Error, ErrorCode};

use super::text::plain;

/// Where `roomcast serve` listens if nobody says otherwise.
pub const URL: &str = "ws://127.0.0.1:7400";

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub struct Server {
    /// The server: ws://, wss://, tcp://, tls://, udp://, quic:// or enet://. Several, separated by
    /// commas, are ways to the same server, the best first: one that works is taken, and named
    #[arg(
        long,
        env = "ROOMCAST_URL",
        default_value = URL,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub url: Vec<String>,
    #[command(flatten)]
    pub access: Access,
}

/// Who asks, and whom to trust.
#[derive(Debug, Clone, clap::Args)]
pub struct Access {
    /// The key that proves who you are
    #[arg(
        long,
        env = "ROOMCAST_TOKEN",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub token: Option<String>,
    /// Trust the certificates of this PEM file too (wss://, tls://, quic://)
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Trust any certificate: for development only
    #[arg(long)]
    pub insecure_tls: bool,
    /// How messages are written on the wire
    #[arg(long, value_enum, default_value_t = Wire::Json, value_name = "CODEC")]
    pub codec: Wire,
}

/// A room as an argument. Whoever is used to verbs that begin with an address is told where it
/// belongs.
pub fn room(text: &str) -> Result<String, String> {
    match text.contains("://") {
        true => Err(format!("`{text}` is an address, not a room: give it with --url")),
        false => Ok(text.to_owned()),
    }
}

/// How messages are written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// Text
    Json,
    /// Binary
    Msgpack,
}

impl Server {
    /// Connects.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        open(self.access.builder(&self.url)?, &self.url).await
    }
}

impl Access {
    /// Settings for a connection by one of these ways.
    pub fn builder(&self, urls: &[String]) -> anyhow::Result<Builder> {
        let (first, others) = urls.split_first().context("--url: name at least one")?;
        let builder = others.iter().fold(Client::builder(first), Builder::fall_back_to);
        let mut builder = builder.codec(match self.codec {
            Wire::Json => Codec::Json,
            Wire::Msgpack => Codec::MsgPack,
        });
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        if let Some(file) = &self.ca {
            let pem = std::fs::read(file).with_context(|| format!("--ca {}", file.display()))?;
            builder = builder.trust(pem);
        }
        if self.insecure_tls {
            builder = builder.trust_anybody();
        }
        Ok(builder)
    }
}

/// Connects, and says by which way if there are several.
pub async fn open(builder: Builder, urls: &[String]) -> anyhow::Result<Client> {
    let client = builder.connect().await.map_err(explain)?;
    if urls.len() > 1 {
        eprintln!("roomcast: connected by {}", client.transport());
    }
    Ok(client)
}

/// Runs a verb. One thread is enough: a person or a pipe is the load.
pub fn block_on(verb: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(verb)
}

/// An error in words that say what to do.
pub fn explain(error: Error) -> anyhow::Error {
    // Words of a server may stand in it.
    let text = plain(&error.to_string());
    let advice = match &error {
        Error::Unreachable { kind: io::ErrorKind::ConnectionRefused, .. } => {
            "is the server running? Start it with `roomcast serve`, or name another one by its URL"
        }
        Error::Unreachable { .. } => "is the address right, and is the server running?",
        Error::Handshake { .. } => {
            "is the URL right? `roomcast serve` listens at ws://127.0.0.1:7400, \
             tcp://127.0.0.1:7401, udp://127.0.0.1:7402, quic://127.0.0.1:7403 and \
             enet://127.0.0.1:7404"
        }
        Error::Refused(refused) => match refused.known() {
            Some(ErrorCode::TokenRequired | ErrorCode::InvalidToken) => {
                "give a key with --token or ROOMCAST_TOKEN"
            }
            Some(ErrorCode::Forbidden) => {
                "give a key or token that allows it with --token or ROOMCAST_TOKEN; `roomcast \
                 explain` shows what a token allows"
            }
            _ => return anyhow!("{text}"),
        },
        _ => return anyhow!("{text}"),
    };
    anyhow!("{text}\n{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_tells_how_to_start_a_server() {
        let error = Error::Unreachable {
            address: URL.to_owned(),
            reason: "Connection refused".to_owned(),
            kind: io::ErrorKind::ConnectionRefused,
        };
        let text = explain(error).to_string();
        assert!(text.contains(URL) && text.contains("`roomcast serve`"), "{text}");
    }
}
