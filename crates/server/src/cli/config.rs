//! `roomcast config init|check|default|key`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use roomcast::Config;
use roomcast::config::{DEFAULT_TOML, FILE_DEFAULT, STARTER_TOML, api_key_hash, new_api_key};
use roomcast_wire::Name;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every key can also be set by the environment: ROOMCAST_SECTION__KEY=value, for example
ROOMCAST_LIMITS__OUTBOX_BYTES=2097152. Flags are stronger than the environment, the environment is
stronger than the file.

Examples:
  roomcast config init                     a short roomcast.toml to begin with
  roomcast config check                    what would the server say to it?
  roomcast config default > roomcast.toml  all settings, each with a comment
  roomcast config key backend              a new key for the HTTP API")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a short commented file to begin with.
    Init {
        /// Where to; a file that is there is left as it is.
        #[arg(default_value = FILE_DEFAULT)]
        path: PathBuf,
    },
    /// Look for problems in file and environment, as a start would.
    Check {
        /// The file; else what `ROOMCAST_CONFIG` names, else roomcast.toml if it is there.
        path: Option<PathBuf>,
        /// The same, as `serve` takes it.
        #[arg(long, short, value_name = "PATH", conflicts_with = "path")]
        config: Option<PathBuf>,
    },
    /// Print all settings with their defaults, each with a comment.
    Default,
    /// Make a key for the HTTP API: print it, and its section for the configuration.
    Key {
        /// What the key is called in refusals and logs.
        #[arg(default_value = "backend")]
        name: String,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Init { path } => init(&path),
        Verb::Check { path, config } => check(path.or(config).as_deref()),
        Verb::Default => print(DEFAULT_TOML),
        Verb::Key { name } => key(&name),
    }
}

fn init(path: &Path) -> anyhow::Result<ExitCode> {
    let shown = path.display();
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{shown} is there already and was left as it is");
        }
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be written")),
    };
    file.write_all(STARTER_TOML.as_bytes())
        .with_context(|| format!("{shown} cannot be written"))?;
    print(&format!("{shown} written. Edit it, then: roomcast config check {shown}\n"))
}

fn check(path: Option<&Path>) -> anyhow::Result<ExitCode> {
    let file = Config::file(path, std::env::vars_os());
    let shown = file.as_ref().map_or("defaults".into(), |path| path.display().to_string());
    let found = Config::load(path, std::env::vars_os()).and_then(|config| config.check());
    match found {
        Ok(()) => print(&format!("{shown}: ok\n")),
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// 256 random bits: nobody guesses them, so that a plain hash keeps them as well as a slow one.
fn key(name: &str) -> anyhow::Result<ExitCode> {
    Name::new(name).context("a key cannot be called so")?;
    let key = new_api_key().context("the system gives no random bytes")?;
    let hash = api_key_hash(&key);
    // A name holds no control characters: then JSON escapes as TOML does.
    let name = serde_json::Value::from(name);
    print(&format!(
        "# The key, shown only now. Give it to your back end: Authorization: Bearer {key}\n\
         # The section for roomcast.toml:\n\
         [[api.keys]]\nname = {name}\nhash = \"{hash}\"\n"
    ))
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads us has seen enough: `roomcast config default | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS).context("standard output"),
    }
}
