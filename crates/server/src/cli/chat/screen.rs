//! Where lines go: above a prompt, or plainly to standard output.

use std::io::{self, Write as _};

use rustyline::ExternalPrinter;

pub struct Screen {
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    pub colour: bool,
}

/// How a piece of a line looks where there are colours.
#[derive(Debug, Clone, Copy)]
pub enum Look {
    /// What stands back.
    Dim,
    /// What went wrong.
    Alarm,
    /// One of the colours that tell people apart.
    Person(u8),
}

impl Screen {
    /// Above a prompt.
    pub fn terminal(printer: Box<dyn ExternalPrinter + Send>, colour: bool) -> Self {
        Self { printer: Some(printer), colour }
    }

    /// Line by line.
    pub fn plain(colour: bool) -> Self {
        Self { printer: None, colour }
    }

    /// Whether a person sits here.
    pub fn is_terminal(&self) -> bool {
        self.printer.is_some()
    }

    /// Shows one line (or more: they must be free of control characters of strangers).
    pub fn line(&mut self, text: &str) {
        let text = format!("{text}\n");
        // If nobody reads any more, the next line of input, or its end, ends the talk.
        let _ = match &mut self.printer {
            Some(printer) => printer.print(text).map_err(io::Error::other),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
    }

    /// Shows what went wrong; a script finds it on standard error.
    pub fn alarm(&mut self, text: &str) {
        if self.is_terminal() {
            let text = self.paint(Look::Alarm, &format!("! {text}"));
            self.line(&text);
        } else {
            eprintln!("roomcast: {text}");
        }
    }

    /// Shows what is no speech.
    pub fn note(&mut self, text: &str) {
        let text = self.paint(Look::Dim, &format!("* {text}"));
        self.line(&text);
    }

    /// The text with its look, where there are colours.
    pub fn paint(&self, look: Look, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match look {
            Look::Dim => 90,
            Look::Alarm => 31,
            // Green, yellow, blue, magenta, cyan and their bright ones; red is for alarms.
            Look::Person(n) => [32, 33, 34, 35, 36, 92, 93, 94, 95, 96][usize::from(n) % 10],
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
