//! `roomcast config init|check|default`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use roomcast::Config;
use roomcast::config::{DEFAULT_TOML, FILE_DEFAULT, STARTER_TOML};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every key can also be set by the environment: ROOMCAST_SECTION__KEY=value, for example
ROOMCAST_LIMITS__OUTBOX_BYTES=2097152. Flags are stronger than the environment, the environment is
stronger than the file.

Examples:
  roomcast config init                     a short roomcast.toml to begin with
  roomcast config check                    what would the server say to it?
  roomcast config default > roomcast.toml  all settings, each with a comment")]
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
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Init { path } => init(&path),
        Verb::Check { path, config } => check(path.or(config).as_deref()),
        Verb::Default => print(DEFAULT_TOML),
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

fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads us has seen enough: `roomcast config default | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS).context("standard output"),
    }
}
