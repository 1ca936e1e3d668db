//! Frames are written once, for every codec: a [`Writer`] for each, a [`Map`] on top.

use bytes::{BufMut, BytesMut};

use super::{Codec, json, msgpack, transcode_into};
use crate::Payload;

/// A key of a frame, written ahead for each codec.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    /// With the comma before and the colon after it. The comma of a map's first key becomes `{`.
    pub(crate) json: &'static str,
    pub(crate) name: &'static str,
}

/// A [`Key`] from a literal that needs no escapes and has fewer than 32 bytes.
macro_rules! key {
    ($name:literal) => {
        $crate::codec::write::Key { json: concat!(",\"", $name, "\":"), name: $name }
    };
}
pub(crate) use key;

/// What a codec needs to know how to write.
pub(crate) trait Writer {
    const CODEC: Codec;
    /// Begins a map that gets 1 to 15 entries; [`Writer::end_map`] is told where.
    fn begin_map(out: &mut BytesMut) -> usize;
    fn key(out: &mut BytesMut, key: Key);
    fn end_map(out: &mut BytesMut, start: usize, entries: u8);
    fn begin_array(out: &mut BytesMut, len: usize);
    /// Comes before each element; `first` before the first.
    fn separate(out: &mut BytesMut, first: bool);
    fn end_array(out: &mut BytesMut);
    fn text(out: &mut BytesMut, text: &str);
    /// UTF-8 that needs no escapes in any codec.
    fn plain(out: &mut BytesMut, text: &[u8]);
    fn uint(out: &mut BytesMut, number: u64);
    fn boolean(out: &mut BytesMut, value: bool);
}

/// Writes JSON.
pub(crate) enum Json {}

impl Writer for Json {
    const CODEC: Codec = Codec::Json;

    #[inline]
    fn begin_map(out: &mut BytesMut) -> usize {
        out.len()
    }

    #[inline]
    fn key(out: &mut BytesMut, key: Key) {
        out.extend_from_slice(key.json.as_bytes());
    }

    #[inline]
    fn end_map(out: &mut BytesMut, start: usize, _entries: u8) {
        if let Some(comma) = out.get_mut(start) {
            *comma = b'{';
        }
        out.put_u8(b'}');
    }

    fn begin_array(out: &mut BytesMut, _len: usize) {
        out.put_u8(b'[');
    }

    fn separate(out: &mut BytesMut, first: bool) {
        if !first {
            out.put_u8(b',');
        }
    }

    fn end_array(out: &mut BytesMut) {
        out.put_u8(b']');
    }

    #[inline]
    fn text(out: &mut BytesMut, text: &str) {
        json::write_text(out, text);
    }

    #[inline]
    fn plain(out: &mut BytesMut, text: &[u8]) {
        json::write_plain(out, text);
    }

    #[inline]
    fn uint(out: &mut BytesMut, number: u64) {
        json::write_uint(out, number);
    }

    fn boolean(out: &mut BytesMut, value: bool) {
        let word: &[u8] = if value { b"true" } else { b"false" };
        out.extend_from_slice(word);
    }
}

/// Writes MessagePack.
pub(crate) enum MsgPack {}

impl Writer for MsgPack {
    const CODEC: Codec = Codec::MsgPack;

    #[inline]
    fn begin_map(out: &mut BytesMut) -> usize {
        let start = out.len();
        out.put_u8(0x80);
        start
    }

    #[inline]
    fn key(out: &mut BytesMut, key: Key) {
        debug_assert!(key.name.len() < 32);
        out.put_u8(0xa0 | key.name.len() as u8);
        out.extend_from_slice(key.name.as_bytes());
    }

    #[inline]
    fn end_map(out: &mut BytesMut, start: usize, entries: u8) {
        debug_assert!((1..16).contains(&entries));
        if let Some(marker) = out.get_mut(start) {
            *marker |= entries;
        }
    }

    fn begin_array(out: &mut BytesMut, len: usize) {
        msgpack::write_array(out, len);
    }

    fn separate(_out: &mut BytesMut, _first: bool) {}

    fn end_array(_out: &mut BytesMut) {}

    #[inline]
    fn text(out: &mut BytesMut, text: &str) {
        msgpack::write_text(out, text);
    }

    #[inline]
    fn plain(out: &mut BytesMut, text: &[u8]) {
        msgpack::write_plain(out, text);
    }

    #[inline]
    fn uint(out: &mut BytesMut, number: u64) {
        msgpack::write_uint(out, number);
    }

    fn boolean(out: &mut BytesMut, value: bool) {
        msgpack::write_bool(out, value);
    }
}

/// One map being written. [`Map::write`] frames it.
pub(crate) struct Map<'a, W> {
    out: &'a mut BytesMut,
    entries: u8,
    writer: std::marker::PhantomData<W>,
}

impl<W: Writer> Map<'_, W> {
    /// Appends one map with the entries that `fill` gives it.
    #[inline]
    pub(crate) fn write(out: &mut BytesMut, fill: impl FnOnce(&mut Map<'_, W>)) {
        let start = W::begin_map(out);
        let mut map = Map { out, entries: 0, writer: std::marker::PhantomData };
        fill(&mut map);
        let entries = map.entries;
        W::end_map(out, start, entries);
    }

    #[inline]
    fn key(&mut self, key: Key) -> &mut BytesMut {
        self.entries += 1;
        W::key(self.out, key);
        self.out
    }

    #[inline]
    pub(crate) fn text(&mut self, key: Key, text: &str) {
        W::text(self.key(key), text);
    }

    #[inline]
    pub(crate) fn plain(&mut self, key: Key, text: impl AsRef<[u8]>) {
        W::plain(self.key(key), text.as_ref());
    }

    #[inline]
    pub(crate) fn uint(&mut self, key: Key, number: u64) {
        W::uint(self.key(key), number);
    }

    #[inline]
    pub(crate) fn boolean(&mut self, key: Key, value: bool) {
        W::boolean(self.key(key), value);
    }

    #[inline]
    pub(crate) fn payload(&mut self, key: Key, payload: Option<&Payload>) {
        let Some(payload) = payload else { return };
        let out = self.key(key);
        if payload.codec() == W::CODEC {
            out.extend_from_slice(payload.bytes());
        } else {
            transcode_into(payload.codec(), payload.bytes(), out);
        }
    }

    /// A value that `write` appends.
    pub(crate) fn value(&mut self, key: Key, write: impl FnOnce(&mut BytesMut)) {
        write(self.key(key));
    }

    #[inline]
    pub(crate) fn map(&mut self, key: Key, fill: impl FnOnce(&mut Map<'_, W>)) {
        Map::write(self.key(key), fill);
    }

    /// An array; `item` appends each element.
    pub(crate) fn array<T>(
        &mut self,
        key: Key,
        items: &[T],
        mut item: impl FnMut(&mut BytesMut, &T),
    ) {
        let out = self.key(key);
        W::begin_array(out, items.len());
        for (index, element) in items.iter().enumerate() {
            W::separate(out, index == 0);
            item(out, element);
        }
        W::end_array(out);
    }
}
