//! The prompt: a thread of its own reads the keyboard, because that cannot be interrupted.

use std::io::{self, Write as _};
use std::sync::mpsc as rendezvous;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

/// The lines that a person types.
pub struct Keyboard {
    lines: mpsc::Receiver<String>,
    prompts: rendezvous::Sender<String>,
    /// How the terminal was before.
    before: Option<Termios>,
}

impl Keyboard {
    /// Takes the keyboard, and says how to print above the prompt.
    pub fn open() -> anyhow::Result<(Self, Box<dyn ExternalPrinter + Send>)> {
        let before = tcgetattr(io::stdin()).ok();
        let mut editor = DefaultEditor::new()?;
        let printer = Box::new(editor.create_external_printer()?);
        let (typed, lines) = mpsc::channel(1);
        let (prompts, asked) = rendezvous::channel::<String>();
        std::thread::spawn(move || {
            while let Ok(prompt) = asked.recv() {
                // The end of the channel is the end of the talk.
                let Some(line) = read_line(&mut editor, &prompt) else { return };
                if typed.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Ok((Self { lines, prompts, before }, printer))
    }

    /// Shows the prompt; [`next`](Self::next) waits for the line. Called once for each line.
    pub fn ask(&self, prompt: &str) {
        // A thread that is gone shows in `next`.
        let _ = self.prompts.send(prompt.to_owned());
    }

    /// Leaves the terminal as it was, although the thread still waits for a line: the process ends.
    pub fn give_back(&self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        println!();
    }

    /// What was typed; none at Ctrl-C and Ctrl-D. Cancel-safe.
    pub async fn next(&mut self) -> Option<String> {
        self.lines.recv().await
    }
}

fn read_line(editor: &mut DefaultEditor, prompt: &str) -> Option<String> {
    let line = match editor.readline(prompt) {
        Ok(line) => line,
        // A window that changed its size, or a stop and continue, is not the end.
        Err(ReadlineError::Signal(_)) => return Some(String::new()),
        Err(_) => return None,
    };
    // Only what repeats a line with Ctrl-P; nothing is written to a file.
    let _ = editor.add_history_entry(&line);
    if !line.trim_start().starts_with('/') {
        erase(editor, prompt, &line);
    }
    Some(line)
}

/// What is said comes back from the room with its place in the order, so what was typed is taken
/// away. A line that may take more than one row is left as it is.
fn erase(editor: &mut DefaultEditor, prompt: &str, line: &str) {
    let columns = editor.dimensions().map_or(0, |(columns, _)| usize::from(columns));
    let width = prompt.chars().count() + line.len();
    if line.is_ascii() && width < columns {
        let mut out = io::stdout().lock();
        // One row up, clear it.
        let _ = out.write_all(b"\x1b[1A\x1b[2K\r").and_then(|()| out.flush());
    }
}
