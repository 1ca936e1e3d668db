//! What a request says in its query.

/// The way packets are to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

/// The query of a request. Of a key that stands more than once the first counts; others than these
/// (`t`, against caches) are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Query<'a> {
    /// The revision of the protocol as it was written.
    pub revision: Option<&'a str>,
    /// The way packets are to travel, as it was written.
    pub transport: Option<&'a str>,
    /// The session.
    pub sid: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// Reads the part of a request's target behind its `?`. The values that count hold nothing
    /// that is written with `%`.
    pub fn read(query: &'a str) -> Self {
        let mut read = Self::default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let place = match key {
                "EIO" => &mut read.revision,
                "transport" => &mut read.transport,
                "sid" => &mut read.sid,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        read
    }

    /// Whether the revision is the one that is spoken here.
    pub fn is_revision_4(&self) -> bool {
        self.revision == Some("4")
    }

    /// The way packets are to travel, if it is one.
    pub fn transport(&self) -> Option<Transport> {
        match self.transport? {
            "polling" => Some(Transport::Polling),
            "websocket" => Some(Transport::WebSocket),
            _ => None,
        }
    }

    /// The number of the session, if it is written as
    /// [`Handshake::packet`](super::Handshake::packet) writes it.
    pub fn session(&self) -> Option<u128> {
        let sid = self.sid.filter(|sid| sid.len() == 32)?;
        let is_hex = sid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex { u128::from_str_radix(sid, 16).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_revision_transport_and_session() {
        let sid = "000000000000000000000000000000ab";
        let text = format!("EIO=4&transport=polling&t=PHwU&sid={sid}&EIO=3");
        let query = Query::read(&text);
        assert!(query.is_revision_4());
        assert_eq!(query.transport(), Some(Transport::Polling));
        assert_eq!(query.session(), Some(0xab));
        assert_eq!(Query::read("").session(), None);
        assert_eq!(Query::read("&&transport&=&EIO"), Query::default());
        for bad in
            ["", "ab", "000000000000000000000000000000AB", "+00000000000000000000000000000ab"]
        {
            assert_eq!(Query { sid: Some(bad), ..Query::default() }.session(), None, "{bad}");
        }
    }
}
