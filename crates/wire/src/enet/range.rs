//! ENet's own compression: an adaptive range coder that predicts each byte from the two before.
//! Its output must be the same bit for bit on both sides, so the arithmetic is that of the C
//! library (1.3), overflow included; what it looks up in memory is not.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The range is filled up from this on.
const TOP: u32 = 1 << 24;
/// It never divides by more than this.
const BOTTOM: u32 = 1 << 16;

/// How many bytes before a byte predict it.
const ORDER: usize = 2;
/// By how much a byte that came gets likelier, without and with others before it.
const ROOT_DELTA: u8 = 3;
const DELTA: u8 = 2;
/// By how much it gets likelier that a byte comes which never came behind these.
const ESCAPE_DELTA: u16 = 5;
/// At first each of the 256 bytes has the same weight.
const BYTES: u16 = 256;

/// So many counts are kept; then all is forgotten.
const SYMBOLS: usize = 4096;
const ROOT: u16 = 0;

/// How often a byte came in a context; at the same time the context of what comes behind it.
/// Links are places in the table; 0 (the root, to which nothing links) is none.
#[derive(Clone, Copy, Default)]
struct Symbol {
    value: u8,
    count: u8,
    /// Counts of all bytes left of this one and its own.
    under: u16,
    left: u16,
    right: u16,
    /// The tree of the bytes that came behind.
    symbols: u16,
    escapes: u16,
    total: u16,
    /// The same byte with one byte less before it.
    parent: u16,
}

/// Where the place of the next found symbol is to be noted.
#[derive(Clone, Copy)]
enum Slot {
    Predicted,
    Parent(u16),
}

struct Model {
    symbols: Box<[Symbol; SYMBOLS]>,
    used: u16,
    /// The context of the next byte.
    predicted: u16,
    order: usize,
}

/// ENet's own compression.
pub(super) struct RangeCoder;

impl RangeCoder {
    /// The compressed bytes, if they are at most `bytes_max`.
    pub(super) fn compress(input: &[u8], bytes_max: usize) -> Option<Bytes> {
        let mut model = Model::new();
        let mut encoder =
            Encoder { low: 0, range: u32::MAX, out: BytesMut::with_capacity(bytes_max), bytes_max };
        for &value in input {
            model.encode_byte(value, &mut encoder)?;
        }
        encoder.finish()
    }

    /// The bytes that were compressed; `None`: these never were, or are more than `bytes_max`.
    pub(super) fn decompress(input: &[u8], bytes_max: usize) -> Option<Bytes> {
        if input.is_empty() {
            return None;
        }
        let mut model = Model::new();
        let mut decoder = Decoder::new(input);
        let mut out = BytesMut::new();
        while let Some(value) = model.decode_byte(&mut decoder).ok()? {
            if out.len() >= bytes_max {
                return None;
            }
            out.put_u8(value);
        }
        Some(out.freeze())
    }
}

/// The bytes were never compressed by this.
struct Garbled;

impl Model {
    fn new() -> Self {
        let mut model = Self {
            symbols: Box::new([Symbol::default(); SYMBOLS]),
            used: 0,
            predicted: 0,
            order: 0,
        };
        model.forget();
        model
    }

    fn forget(&mut self) {
        self.used = 0;
        self.add(0, 0);
        let root = self.at(ROOT);
        root.escapes = 1;
        root.total = 1 + BYTES;
        self.predicted = ROOT;
        self.order = 0;
    }

    /// Places are always within the table: `used` is kept below its size.
    fn at(&mut self, place: u16) -> &mut Symbol {
        &mut self.symbols[usize::from(place) % SYMBOLS]
    }

    fn add(&mut self, value: u8, delta: u8) -> u16 {
        let place = self.used;
        self.used += 1;
        *self.at(place) =
            Symbol { value, count: delta, under: u16::from(delta), ..Symbol::default() };
        place
    }

    fn note(&mut self, slot: Slot, place: u16) {
        match slot {
            Slot::Predicted => self.predicted = place,
            Slot::Parent(of) => self.at(of).parent = place,
        }
    }

    /// Counts `value` once more in a context. Returns its place, and its weight before and the
    /// weights below it, both without the minimum that each byte has in the root.
    fn count(&mut self, context: u16, value: u8, delta: u8) -> (u16, u16, u16) {
        let mut node = self.at(context).symbols;
        if node == 0 {
            let place = self.add(value, delta);
            self.at(context).symbols = place;
            return (place, 0, 0);
        }
        let mut under = 0_u16;
        loop {
            let symbol = *self.at(node);
            if value == symbol.value {
                let weight = u16::from(symbol.count);
                under = under.wrapping_add(symbol.under.wrapping_sub(weight));
                let symbol = self.at(node);
                symbol.under = symbol.under.wrapping_add(u16::from(delta));
                symbol.count = symbol.count.wrapping_add(delta);
                return (node, weight, under);
            }
            let next = if value < symbol.value {
                self.at(node).under = symbol.under.wrapping_add(u16::from(delta));
                symbol.left
            } else {
                under = under.wrapping_add(symbol.under);
                symbol.right
            };
            if next == 0 {
                let place = self.add(value, delta);
                let parent = self.at(node);
                *(if value < symbol.value { &mut parent.left } else { &mut parent.right }) = place;
                return (place, 0, under);
            }
            node = next;
        }
    }

    /// Halves all counts of a tree. Returns their sum. A tree is at most 256 deep.
    fn halve(&mut self, place: u16) -> u16 {
        let mut node = place;
        let mut total = 0_u16;
        loop {
            let count = self.at(node).count;
            let count = count - (count >> 1);
            let left = self.at(node).left;
            let below = if left == 0 { 0 } else { self.halve(left) };
            let symbol = self.at(node);
            symbol.count = count;
            symbol.under = u16::from(count).wrapping_add(below);
            total = total.wrapping_add(symbol.under);
            node = symbol.right;
            if node == 0 {
                return total;
            }
        }
    }

    /// After a byte of weight `count` was counted in a context.
    fn keep_small(&mut self, context: u16, count: u16, delta: u8, minimum: u16) {
        let symbol = self.at(context);
        symbol.total = symbol.total.wrapping_add(u16::from(delta));
        let most = 0xff - 2 * u16::from(delta) + minimum;
        if count <= most && u32::from(symbol.total) <= BOTTOM - 0x100 {
            return;
        }
        let symbols = symbol.symbols;
        let total = if symbols == 0 { 0 } else { self.halve(symbols) };
        let symbol = self.at(context);
        symbol.escapes -= symbol.escapes >> 1;
        symbol.total = total.wrapping_add(symbol.escapes).wrapping_add(BYTES * minimum);
    }

    /// A byte has gone through: the context of the next.
    fn advance(&mut self) {
        if self.order >= ORDER {
            let predicted = self.predicted;
            self.predicted = self.at(predicted).parent;
        } else {
            self.order += 1;
        }
        if usize::from(self.used) >= SYMBOLS - ORDER {
            self.forget();
        }
    }

    fn encode_byte(&mut self, value: u8, encoder: &mut Encoder) -> Option<()> {
        let mut slot = Slot::Predicted;
        let mut context = self.predicted;
        while context != ROOT {
            let (place, count, under) = self.count(context, value, DELTA);
            self.note(slot, place);
            slot = Slot::Parent(place);
            let Symbol { escapes, total, parent, .. } = *self.at(context);
            if count > 0 {
                encoder.encode(escapes.wrapping_add(under), count, total)?;
            } else {
                if escapes > 0 && escapes < total {
                    encoder.encode(0, escapes, total)?;
                }
                self.count_escape(context);
            }
            self.keep_small(context, count, DELTA, 0);
            if count > 0 {
                self.advance();
                return Some(());
            }
            context = parent;
        }
        let Symbol { escapes, total, .. } = *self.at(ROOT);
        let (place, count, under) = self.count(ROOT, value, ROOT_DELTA);
        self.note(slot, place);
        let (count, under) = (count + 1, under.wrapping_add(u16::from(value)));
        encoder.encode(escapes.wrapping_add(under), count, total)?;
        self.keep_small(ROOT, count, ROOT_DELTA, 1);
        self.advance();
        Some(())
    }

    fn count_escape(&mut self, context: u16) {
        let symbol = self.at(context);
        symbol.escapes = symbol.escapes.wrapping_add(ESCAPE_DELTA);
        symbol.total = symbol.total.wrapping_add(ESCAPE_DELTA);
    }

    /// The next byte; `Ok(None)`: that was all.
    fn decode_byte(&mut self, decoder: &mut Decoder<'_>) -> Result<Option<u8>, Garbled> {
        let mut context = self.predicted;
        let mut found = None;
        while context != ROOT {
            let Symbol { escapes, total, parent, .. } = *self.at(context);
            if escapes > 0 && escapes < total {
                let code = decoder.code(total);
                if code >= escapes {
                    let (value, place) = self.decode_in(context, code - escapes, decoder)?;
                    found = Some((value, place));
                    break;
                }
                decoder.decode(0, escapes);
            }
            context = parent;
        }
        let (value, place) = match found {
            Some(found) => found,
            None => match self.decode_root(decoder)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        self.count_in_longer(context, value, place);
        self.advance();
        Ok(Some(value))
    }

    /// A byte that came in this context before.
    fn decode_in(
        &mut self,
        context: u16,
        code: u16,
        decoder: &mut Decoder<'_>,
    ) -> Result<(u8, u16), Garbled> {
        let mut node = self.at(context).symbols;
        let mut under = 0_u16;
        while node != 0 {
            let symbol = *self.at(node);
            let (after, count) = (under.wrapping_add(symbol.under), u16::from(symbol.count));
            if code >= after {
                under = after;
                node = symbol.right;
                continue;
            }
            self.at(node).under = symbol.under.wrapping_add(u16::from(DELTA));
            if code < after.wrapping_sub(count) {
                node = symbol.left;
                continue;
            }
            self.at(node).count = symbol.count.wrapping_add(DELTA);
            let under = after.wrapping_sub(count);
            decoder.decode(self.at(context).escapes.wrapping_add(under), count);
            self.keep_small(context, count, DELTA, 0);
            return Ok((symbol.value, node));
        }
        Err(Garbled)
    }

    /// A byte that never came behind these; `None`: the end.
    fn decode_root(&mut self, decoder: &mut Decoder<'_>) -> Result<Option<(u8, u16)>, Garbled> {
        let Symbol { escapes, total, .. } = *self.at(ROOT);
        let code = decoder.code(total);
        if code < escapes {
            return Ok(None);
        }
        if code >= total {
            return Err(Garbled);
        }
        let value = self.byte_at(code - escapes).ok_or(Garbled)?;
        let (place, count, under) = self.count(ROOT, value, ROOT_DELTA);
        let (count, under) = (count + 1, under.wrapping_add(u16::from(value)));
        decoder.decode(escapes.wrapping_add(under), count);
        self.keep_small(ROOT, count, ROOT_DELTA, 1);
        Ok(Some((value, place)))
    }

    /// Which byte's weight in the root covers `code`.
    fn byte_at(&mut self, code: u16) -> Option<u8> {
        let mut node = self.at(ROOT).symbols;
        let mut under = 0_u16;
        // Bytes from here on lie right of all nodes passed.
        let mut first = 0_u16;
        while node != 0 {
            let symbol = *self.at(node);
            let value = u16::from(symbol.value);
            let after = under.wrapping_add(symbol.under).wrapping_add(value + 1);
            let before = u16::from(symbol.count) + 1;
            if code >= after {
                under = under.wrapping_add(symbol.under);
                first = value + 1;
                node = symbol.right;
            } else if code < after.wrapping_sub(before) {
                node = symbol.left;
            } else {
                return Some(symbol.value);
            }
        }
        // Between two nodes each byte has its minimum of one, so that its place is its number.
        let value = code.wrapping_sub(under);
        if value < first { None } else { u8::try_from(value).ok() }
    }

    /// The byte is counted in the contexts that did not know it, from the longest on.
    fn count_in_longer(&mut self, found_in: u16, value: u8, found: u16) {
        let mut slot = Slot::Predicted;
        let mut context = self.predicted;
        while context != found_in {
            let (place, count, _) = self.count(context, value, DELTA);
            self.note(slot, place);
            slot = Slot::Parent(place);
            if count == 0 {
                self.count_escape(context);
            }
            self.keep_small(context, count, DELTA, 0);
            context = self.at(context).parent;
        }
        self.note(slot, found);
    }
}

struct Encoder {
    low: u32,
    range: u32,
    out: BytesMut,
    bytes_max: usize,
}

impl Encoder {
    fn encode(&mut self, under: u16, count: u16, total: u16) -> Option<()> {
        // At least 1: the range is never below `BOTTOM`, and no total above it.
        self.range /= u32::from(total).max(1);
        self.low = self.low.wrapping_add(u32::from(under).wrapping_mul(self.range));
        self.range = self.range.wrapping_mul(u32::from(count));
        while let Some(range) = narrowed(self.low, self.range) {
            self.put()?;
            self.range = range << 8;
        }
        Some(())
    }

    fn put(&mut self) -> Option<()> {
        if self.out.len() >= self.bytes_max {
            return None;
        }
        self.out.put_u8((self.low >> 24) as u8);
        self.low <<= 8;
        Some(())
    }

    fn finish(mut self) -> Option<Bytes> {
        while self.low != 0 {
            self.put()?;
        }
        Some(self.out.freeze())
    }
}

/// The range, if its first byte is fixed (or the range is so small that it is cut to be fixed) and
/// is to be moved out; `None`: there is room enough.
fn narrowed(low: u32, range: u32) -> Option<u32> {
    if (low ^ low.wrapping_add(range)) < TOP {
        return Some(range);
    }
    if range >= BOTTOM { None } else { Some(low.wrapping_neg() & (BOTTOM - 1)) }
}

struct Decoder<'a> {
    low: u32,
    range: u32,
    code: u32,
    input: std::slice::Iter<'a, u8>,
}

impl<'a> Decoder<'a> {
    fn new(input: &'a [u8]) -> Self {
        let mut decoder = Self { low: 0, range: u32::MAX, code: 0, input: input.iter() };
        for _ in 0..4 {
            decoder.take();
        }
        decoder
    }

    /// Behind the end stand zeros.
    fn take(&mut self) {
        self.code = self.code << 8 | u32::from(self.input.next().copied().unwrap_or_default());
    }

    /// Where in a context of this weight the next symbol lies.
    fn code(&mut self, total: u16) -> u16 {
        self.range = (self.range / u32::from(total).max(1)).max(1);
        (self.code.wrapping_sub(self.low) / self.range) as u16
    }

    fn decode(&mut self, under: u16, count: u16) {
        self.low = self.low.wrapping_add(u32::from(under).wrapping_mul(self.range));
        self.range = self.range.wrapping_mul(u32::from(count));
        // An honest range is wide enough after four; garbled input can leave none at all.
        for _ in 0..8 {
            let Some(range) = narrowed(self.low, self.range) else { break };
            self.take();
            self.range = range << 8;
            self.low <<= 8;
        }
    }
}
