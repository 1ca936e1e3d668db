//! Cutting a step into words: blanks separate, but not inside quotes, braces or brackets.

/// The words of a step, in order.
#[derive(Debug)]
pub(super) struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    pub fn new(text: &'a str) -> Self {
        let (mut words, mut start, mut depth, mut quoted) = (Vec::new(), None, 0_usize, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            let inside = quoted || depth > 0 || byte != b' ';
            match (inside, start) {
                (true, None) => start = Some(at),
                (false, Some(from)) => {
                    words.push(&text[from..at]);
                    start = None;
                }
                _ => {}
            }
        }
        words.extend(start.map(|from| &text[from..]));
        Self { words, next: 0 }
    }

    /// The next word.
    pub fn need(&mut self, what: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("{what} is missing"))
    }

    /// The value of `name=value`, wherever it stands; taken out.
    pub fn value(&mut self, name: &str) -> Option<&'a str> {
        let of = |word: &'a str| word.strip_prefix(name)?.strip_prefix('=');
        let at = self.words.iter().position(|word| of(word).is_some())?;
        of(self.words.remove(at))
    }

    /// Whether `word` stands there; taken out.
    pub fn flag(&mut self, word: &str) -> bool {
        let at = self.words.iter().skip(self.next).position(|found| *found == word);
        at.map(|at| self.words.remove(self.next + at)).is_some()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }
}

/// Whether the text is one word that may name a client.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
