//! Connections: which entry, which secrets, and what is forgotten with them.

use super::{
    Core,
    types::{Connection, Purpose, Session},
    work::Event,
};
use crate::traffic::{Clocks, Ready};
use std::{collections::BTreeMap, sync::Arc};
use veilpost_packet::{
    frame::{Hello, RecordJoiner},
    geometry::{DIGEST_MAX, DOCUMENT_MAX, SET_MAX},
    ids::{DocumentHash, NodeId, SessionAddress},
    random,
    sphinx::SphinxSecret,
    time::{Tick, Timestamp},
};
use veilpost_pki::Document;

impl Core {
    /// Draws the secrets of a new connection.
    pub fn new_session(&mut self) -> Session {
        self.connections += 1;
        let address = SessionAddress(random::bytes(&mut self.rng));
        let secret = Arc::new(SphinxSecret::from_seed(random::bytes(&mut self.rng)));
        let document = self.documents.newest().map_or(DocumentHash::default(), Document::hash);
        self.connection = None;
        let session = Session {
            hello: Hello { profile: self.profile, ..Hello::client(address, document) },
            secret: secret.clone(),
            network: self.authorities.network(),
            number: self.connections,
        };
        self.connection_secrets(address, secret);
        session
    }

    /// The link to this entry is up, with the session's hello.
    pub fn handle_connected(&mut self, now: Timestamp, session: &Session, entry: NodeId) {
        if let Some(connection) = &mut self.connection
            && connection.number == session.number
        {
            connection.entry = Some(entry);
            self.guards.handle_reached(&entry);
            self.suspicion.handle_connected(entry);
            if let Some(document) = &self.document {
                let rates = document.params.rates(connection.profile);
                connection.clocks = Some(Clocks::start(now, &rates, &mut self.rng));
                self.tracker.handle_connected(Tick::at(now, document.params.tick));
            }
            self.push_event(Event::Connection(true));
        }
    }

    /// The link is down. What was ready is made anew for the next session; acks that wait are dropped, as they would tell
    /// what was read before.
    pub fn handle_disconnected(&mut self) {
        if self.connection.take().is_some() {
            self.push_event(Event::Connection(false));
        }
        self.suspicion.handle_disconnected();
        self.online.stop();
        self.preparing.clear();
        self.acks.clear();
        self.lose_gets();
    }

    /// Answers that are still to come were on their way to the session that is over.
    ///
    /// Commands without mixes go on without it, unless the transport is another one now.
    fn lose_gets(&mut self) {
        let direct_goes_on = self.transport.is_direct();
        let mut lost = Vec::new();
        self.in_flight.retain(|_, flight| {
            let goes_on = direct_goes_on && flight.recovery.is_none();
            match flight.purpose {
                Purpose::Get(key, _) if !goes_on => {
                    lost.push((flight.sent, key));
                    false
                }
                _ => true,
            }
        });
        self.counters.lost += lost.len() as u64;
        for (sent, key) in lost {
            self.handle_get_broken(sent, key);
        }
    }

    fn connection_secrets(&mut self, address: SessionAddress, secret: Arc<SphinxSecret>) {
        self.preparing.clear();
        self.connection = Some(Connection {
            number: self.connections,
            profile: self.profile,
            transport: self.transport,
            entry: None,
            address,
            secret,
            clocks: None,
            ready: Ready::default(),
            want: None,
            building: BTreeMap::new(),
            documents: RecordJoiner::new(DOCUMENT_MAX),
            digests: RecordJoiner::new(DIGEST_MAX),
            sets: RecordJoiner::new(SET_MAX),
        });
    }
}
