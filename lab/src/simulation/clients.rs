//! The clients of a simulation, and what their people do.

use super::{Message, Simulation, Truth, Who, packets::Opener};
use rand::Rng as _;
use std::time::Duration;
use veilpost_client::{
    content::Uuid,
    core::{Answer, Core, Departure, Event},
    signal,
    store::{Store, contacts::ContactState, messages},
};
use veilpost_mixnode::entry::SessionRefused;
use veilpost_packet::{
    frame::{Frame, FrameKind},
    ids::{NodeId, SessionAddress},
    random::{fork, pick},
    sphinx::Packet,
    time::Timestamp,
};

/// As in the client's shell: first and longest wait before dialing again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// As in the client's shell: failures to reach a guard before the other one is tried.
const GUARD_TRIES: u32 = 3;

struct Link {
    opener: Opener,
    relay: usize,
    address: SessionAddress,
}

pub(super) struct Client {
    core: Option<Core>,
    /// The disk, while no process has it.
    store: Option<Store>,
    /// How slow its clock is.
    behind: Duration,
    /// Its entry drops replies until then.
    deaf: Timestamp,
    online: bool,
    link: Option<Link>,
    failures: u32,
    wait: Duration,
    dial_at: Timestamp,
}

impl Client {
    fn clock(&self, now: Timestamp) -> Timestamp {
        now - self.behind
    }

    fn core(&mut self) -> &mut Core {
        self.core.as_mut().expect("this client runs")
    }
}

impl Simulation {
    /// A person with a new account, who knows the network file alone.
    pub fn add_client(&mut self) -> usize {
        let (number, now) = (self.clients.len(), self.now);
        let mut store = Store::in_memory().expect("memory");
        let (name, mut account) = (format!("client {number}"), fork(&mut self.rng));
        let network = self.authorities.network();
        let made = store.transaction(|tx| signal::create_account(tx, &name, network, now, &mut account));
        made.expect("a fresh store takes an account");
        self.clients.push(Client {
            core: None,
            store: Some(store),
            behind: Duration::ZERO,
            deaf: Timestamp::ZERO,
            online: true,
            link: None,
            failures: 0,
            wait: BACKOFF.0,
            dial_at: now,
        });
        self.start_client(number);
        number
    }

    fn client_mut(&mut self, number: usize) -> &mut Client {
        self.touch(Who::Client(number));
        self.clients.get_mut(number).expect("a client")
    }

    /// Lets a client connect, to its guard or to an entry of the network file, now and whenever its link breaks.
    pub fn connect(&mut self, number: usize) {
        let now = self.now;
        let client = self.client_mut(number);
        (client.online, client.dial_at) = (true, now);
        self.dial(number);
    }

    /// Cuts a client off.
    pub fn disconnect(&mut self, number: usize) {
        self.hang_up(number);
        self.client_mut(number).online = false;
    }

    /// Ends a client's process.
    pub fn kill_client(&mut self, number: usize) {
        self.hang_up(number);
        let client = self.client_mut(number);
        if let Some(core) = client.core.take() {
            client.store = Some(core.into_store());
        }
    }

    /// Starts a client's process, if it does not run.
    pub fn start_client(&mut self, number: usize) {
        let (rng, now, authorities) = (fork(&mut self.rng), self.now, self.authorities.clone());
        let client = self.client_mut(number);
        let Some(store) = client.store.take() else { return };
        let core = Core::new(client.clock(now), store, authorities, rng);
        client.core = Some(core.expect("the store is good"));
        (client.failures, client.wait, client.dial_at) = (0, BACKOFF.0, now);
    }

    /// Ends a client's process and starts it anew from its store, as a crash and a restart do.
    pub fn restart_client(&mut self, number: usize) {
        self.kill_client(number);
        self.start_client(number);
    }

    /// Lets a client's entry drop all replies that come for it until then.
    pub fn drop_replies(&mut self, number: usize, until: Timestamp) {
        self.client_mut(number).deaf = until;
    }

    /// Sets a client's clock back.
    pub fn set_clock_behind(&mut self, number: usize, behind: Duration) {
        self.client_mut(number).behind = behind;
    }

    /// A client's engine.
    pub fn client(&mut self, number: usize) -> &mut Core {
        self.client_mut(number).core()
    }

    /// True if the client's process runs.
    pub fn is_client_up(&self, number: usize) -> bool {
        self.clients.get(number).is_some_and(|client| client.core.is_some())
    }

    /// The entry that a client is connected to.
    pub fn entry_of(&self, number: usize) -> Option<Who> {
        let link = self.clients.get(number)?.link.as_ref()?;
        Some(Who::Relay(link.relay))
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn client_of(&self, session: &SessionAddress) -> Option<usize> {
        let of = |client: &Client| client.link.as_ref().is_some_and(|link| link.address == *session);
        self.clients.iter().position(of)
    }

    /// The link is gone: the entry's process, the cable, or our own wish.
    fn hang_up(&mut self, number: usize) {
        let (now, jitter) = (self.now, self.rng.random_range(1.0..1.5));
        let client = self.client_mut(number);
        client.dial_at = now + client.wait.mul_f64(jitter);
        if let Some(core) = &mut client.core {
            core.handle_disconnected();
        }
        if let Some(Link { relay, address, .. }) = client.link.take() {
            self.close_session(relay, &address);
            self.touch(Who::Relay(relay));
        }
    }

    /// An entry hangs up on all its clients.
    pub(super) fn hang_up_on(&mut self, relay: usize) {
        let on = |client: &Client| client.link.as_ref().is_some_and(|link| link.relay == relay);
        let all: Vec<_> = (0..).zip(&self.clients).filter(|(_, client)| on(client)).map(|(number, _)| number).collect();
        all.into_iter().for_each(|number| self.hang_up(number));
    }

    /// Hangs up where a cut runs between a client and its entry.
    pub(super) fn hang_up_if_cut(&mut self) {
        for number in 0..self.clients.len() {
            let entry = self.entry_of(number);
            if entry.is_some_and(|entry| self.is_cut(entry, Who::Client(number))) {
                self.hang_up(number);
            }
        }
    }

    /// The guard, or the backup when the guard was out of reach some times in a row; before the first document any entry of
    /// the network file.
    fn choose_entry(&mut self, number: usize) -> Option<NodeId> {
        let client = self.clients.get(number)?;
        let core = client.core.as_ref()?;
        let known: Vec<NodeId> = match core.document() {
            Some(document) => document.entries.iter().map(|entry| entry.id).collect(),
            None => self.bootstrap.clone(),
        };
        let guards: Vec<NodeId> = core.guards().iter().filter(|guard| known.contains(guard)).copied().collect();
        let turn = usize::try_from(client.failures / GUARD_TRIES).unwrap_or(0);
        let guard = guards.get(turn % guards.len().max(1)).copied();
        guard.or_else(|| pick(&mut self.rng, &known).copied())
    }

    fn dial(&mut self, number: usize) {
        let now = self.now;
        let Some(entry) = self.choose_entry(number) else { return };
        let Some(Who::Relay(at)) = self.by_id.get(&entry).copied() else { return };
        let cut = self.is_cut(Who::Relay(at), Who::Client(number));
        let jitter = self.rng.random_range(1.0..1.5);
        let client = self.client_mut(number);
        let local = client.clock(now);
        let mut session = client.core().new_session();
        let relay = self.relays.get_mut(at).expect("a relay");
        let theirs = relay.node.skew.local(now);
        let opened = relay.engine.as_mut().filter(|_| !cut).and_then(|engine| {
            match engine.open_session(theirs, &session.hello) {
                Err(SessionRefused::Puzzle(asked)) => {
                    session.hello.puzzle = session.puzzle(&entry, asked)?.solve()?;
                    engine.open_session(theirs, &session.hello).ok()
                }
                opened => opened.ok(),
            }
        });
        let client = self.client_mut(number);
        match opened {
            Some(address) => {
                client.core().handle_connected(local, &session, entry);
                (client.failures, client.wait) = (0, BACKOFF.0);
                let opener = Opener::new(address.0, session.secret.clone());
                client.link = Some(Link { opener, relay: at, address });
                self.ledger.session(&address);
                self.touch(Who::Relay(at));
            }
            None => {
                client.failures += 1;
                client.core().handle_disconnected();
                client.core().handle_unreachable(local, &entry);
                client.dial_at = now + client.wait.mul_f64(jitter);
                client.wait = (client.wait * 2).min(BACKOFF.1);
            }
        }
    }

    pub(super) fn deliver_to_client(&mut self, number: usize, address: SessionAddress, frame: &Frame) {
        let (now, packets) = (self.now, self.setup.packets);
        let client = self.client_mut(number);
        let local = client.clock(now);
        let Some(link) = client.link.as_ref().filter(|link| link.address == address) else { return };
        if frame.kind() == FrameKind::Packet {
            if now < client.deaf {
                return;
            }
            let packet = Packet::from_bytes(frame.body()).expect("a frame's body is a packet");
            let unwrapped = packets.unwrap(&link.opener, &packet);
            if let Ok(unwrapped) = unwrapped {
                client.core().handle_delivered(local, unwrapped);
            }
        } else {
            client.core().handle_frame(local, frame).expect("honest entries send good streams");
        }
    }

    pub(super) fn poll_client(&mut self, number: usize) -> Timestamp {
        let now = self.now;
        let client = self.clients.get_mut(number).expect("a client");
        let local = client.clock(now);
        let Some(core) = &mut client.core else { return Timestamp::FAR_FUTURE };
        core.handle_timers(local);
        let elsewhere = core.must_connect_elsewhere();
        if client.link.is_some() && elsewhere {
            self.hang_up(number);
        }
        let client = self.clients.get(number).expect("a client");
        if client.link.is_none() && client.online && now >= client.dial_at {
            self.dial(number);
        }
        let client = self.clients.get_mut(number).expect("a client");
        let core = client.core.as_mut().expect("it ran above");
        while let Some(job) = core.poll_job(local) {
            if let (Some(watch), Some((id, decoy))) = (&mut self.watch, core.written_by(&job)) {
                watch.truth.entry(id).or_insert(Truth { writer: number, decoy });
            }
            core.handle_built(self.setup.packets.run(job));
        }
        let departures = std::iter::from_fn(|| core.poll_departure(local));
        // Nobody in here goes another way than through the mixes.
        let frames = departures.filter_map(|departure| match departure {
            Departure::Entry(frame) => Some(frame),
            Departure::Mailbox(_) => None,
        });
        let frames: Vec<_> = frames.collect();
        let wake = core.next_wake(local);
        let wake = if wake == Timestamp::FAR_FUTURE { wake } else { wake + client.behind };
        let dial = if client.link.is_none() && client.online { client.dial_at } else { Timestamp::FAR_FUTURE };
        let link = client.link.as_ref().map(|link| (link.relay, link.address));
        if let Some((relay, session)) = link {
            for frame in frames {
                self.send(Who::Client(number), Who::Relay(relay), Message::FromClient { session, frame });
            }
        }
        wake.min(dial)
    }

    /// Makes two clients contacts of each other by an invitation; gives their names for one another.
    ///
    /// # Panics
    /// If that takes more than a virtual hour: on a network that loses packets, an offer may have to be sent again.
    pub fn befriend(&mut self, inviter: usize, accepter: usize) -> (String, String) {
        let before = [inviter, accepter].map(|client| self.friends(client));
        let now = self.now;
        self.client(inviter).invite(now, None, 1).expect("an invitation");
        let mut link = None;
        self.run(now + Duration::from_secs(600), |simulation| {
            if let Some((1, Ok(Answer::Invited { link: made, .. }))) = simulation.client(inviter).poll_answer() {
                link = Some(made);
            }
            link.is_some()
        });
        let (link, now) = (link.expect("an answer within 20 s"), self.now);
        self.client(accepter).accept(now, &link, None, 2).expect("a good link");
        let met = |simulation: &mut Self, client, before: &[String]| {
            simulation.friends(client).into_iter().find(|name| !before.contains(name))
        };
        let [of_inviter, of_accepter] = &before;
        let both = self.run(now + Duration::from_secs(3_600), |simulation| {
            met(simulation, inviter, of_inviter).is_some() && met(simulation, accepter, of_accepter).is_some()
        });
        assert!(both, "the invitation is answered");
        let [inviters, accepters] = [met(self, inviter, of_inviter), met(self, accepter, of_accepter)];
        (inviters.expect("asked above"), accepters.expect("asked above"))
    }

    /// Names of the contacts that a client can write to.
    fn friends(&mut self, client: usize) -> Vec<String> {
        let all = self.client(client).contacts().expect("store").into_iter();
        let usable = |state| matches!(state, ContactState::Answered | ContactState::Established);
        all.filter(|one| usable(one.state)).map(|one| one.name).collect()
    }

    fn messages(&mut self, client: usize) -> Vec<messages::StoredMessage> {
        let client = self.clients.get(client).expect("a client");
        let store = client.core.as_ref().map(Core::store).or(client.store.as_ref());
        messages::list(store.expect("a store is in the core or beside it").connection(), None, 100_000).expect("store")
    }

    /// Texts that a client has received, in order of arrival, and how many of its own are delivered.
    pub fn history(&mut self, client: usize) -> (Vec<String>, usize) {
        let all = self.messages(client);
        let received = all.iter().filter(|one| one.message.direction == messages::Direction::In);
        let received = received.filter_map(|one| one.message.text.clone()).collect();
        (received, all.iter().filter(|one| one.message.state == messages::State::Delivered).count())
    }

    /// Ids of all messages of a client, to see whether any came twice.
    pub fn uuids(&mut self, client: usize) -> Vec<Uuid> {
        self.messages(client).into_iter().map(|one| one.message.uuid).collect()
    }

    /// Events of a client since the last call.
    pub fn drain_events(&mut self, client: usize) -> Vec<Event> {
        let core = self.client(client);
        std::iter::from_fn(|| core.poll_event()).collect()
    }
}
