//! A network in a few lines: mailboxes in memory that replicate, lie or are silent, and engines whose ticks the test makes.
//! No packets: what a tick would send goes to its mailbox as it is, and the answer comes back some seconds later. Clocks,
//! links and Sphinx have tests of their own.

use super::*;
use crate::{arq::Pace, core::writing::Job};
use rand::Rng as _;
use std::collections::BTreeSet;
use veilpost_packet::{
    boxes::{ContentHash, SealedBox},
    command::{Answer as Told, Command, HolderSignature},
    digest::{Digest, DigestHash, SignedDigest},
    frame::Wanted,
    ids::{BoxId, District, LinkKey},
    set::{Period, SetHead},
    sphinx::SphinxPublic,
    time::{Day, Epoch},
};
use veilpost_pki::{
    UnverifiedDocument, View,
    document::{Memory, Placement, Relay},
    signed::sign_view,
    topology::{self, holders},
};

/// Time between two steps of a world: about a Put slot at default rates.
pub(super) const STEP: Duration = Duration::from_secs(8);
/// How long a reply takes.
const REPLY: Duration = Duration::from_secs(6);

/// What a mailbox does with what it promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nature {
    Honest,
    /// Signs for every box, names it, and throws it away; says so when asked.
    Drops,
    /// The same, and says that its reader has acknowledged it.
    SaysGone,
    /// The same, and answers with other bytes.
    Garbage,
    /// The same, and answers with the first box that it ever got.
    OldBytes,
    /// Stores and signs for the other holder, and answers nobody.
    Silent,
    /// Listed, and away.
    Down,
}

pub(super) struct Mailbox {
    secret: SigningSecret,
    pub(super) nature: Nature,
    pub(super) boxes: BTreeMap<BoxId, SealedBox>,
    gone: BTreeSet<BoxId>,
    /// What lies or lay under an id, and until when a tombstone says so.
    taken: BTreeMap<BoxId, (ContentHash, Day)>,
    pub(super) unnamed: Vec<BoxTag>,
    previous: DigestHash,
    history: Vec<(Tick, Vec<u8>)>,
    /// Every box that it was asked for, in order, and when.
    pub(super) asked: Vec<(BoxId, Timestamp)>,
    /// Every box that was brought to it directly, in order, and when.
    pub(super) brought: Vec<(SealedBox, Timestamp)>,
}

impl Mailbox {
    fn keeps(&self) -> bool {
        matches!(self.nature, Nature::Honest | Nature::Silent)
    }

    fn store(&mut self, sealed: &SealedBox) {
        if self.keeps() && !self.gone.contains(&sealed.id) {
            let later = self.boxes.get(&sealed.id).is_none_or(|kept| kept.expiry < sealed.expiry);
            if later {
                self.boxes.insert(sealed.id, sealed.clone());
            }
        } else if self.nature == Nature::OldBytes && self.boxes.is_empty() {
            self.boxes.insert(sealed.id, sealed.clone());
        }
    }

    /// The entry has nothing of it.
    pub(super) fn forget_history(&mut self) {
        self.history.clear();
    }

    fn set(&self, params: &Params, what: Wanted, number: u32) -> (Vec<BoxTag>, Period) {
        let held =
            self.boxes.values().filter(|sealed| what == Wanted::Hours || sealed.expiry.0 == number + params.box_days);
        let held: BTreeSet<_> = held.map(|sealed| BoxTag::of(&sealed.id)).collect();
        if what == Wanted::Days {
            return (held.into_iter().collect(), Period::Day(number));
        }
        let hour = |tick: &Tick| tick.start(params.tick).periods(params.hour()) == u64::from(number);
        let digests = self.history.iter().filter(|(tick, _)| hour(tick));
        let named = digests.flat_map(|(_, bytes)| SignedDigest::verify(bytes).unwrap().digest().tags.clone());
        (named.filter(|tag| held.contains(tag)).collect(), Period::Hour(number))
    }

    fn hand_out(&mut self, id: &BoxId, now: Timestamp) -> Option<Told> {
        self.asked.push((*id, now));
        let found = |sealed: &SealedBox| Told::Found(Box::new(sealed.clone()));
        match self.nature {
            Nature::Silent | Nature::Down => None,
            Nature::SaysGone => Some(Told::Gone),
            Nature::OldBytes => self.boxes.values().next().map(found),
            Nature::Garbage => {
                let mut sealed = self.brought.first().map(|(sealed, _)| sealed.clone())?;
                (sealed.id, sealed.ciphertext[7]) = (*id, sealed.ciphertext[7] ^ 1);
                Some(found(&sealed))
            }
            Nature::Honest | Nature::Drops if self.gone.contains(id) => Some(Told::Gone),
            Nature::Honest | Nature::Drops => Some(self.boxes.get(id).map_or(Told::Absent, found)),
        }
    }
}

struct Waiting {
    due: Timestamp,
    person: usize,
    purpose: Purpose,
    mailbox: NodeId,
    answer: Told,
}

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) document: Document,
    pub(super) mailboxes: BTreeMap<NodeId, Mailbox>,
    pub(super) people: Vec<Core>,
    pub(super) online: Vec<bool>,
    /// The first digests that each has not got yet.
    pub(super) seen: Vec<Tick>,
    /// The entry has no digests of before.
    pub(super) entry_since: Tick,
    /// Of a hundred round trips so many fail.
    pub(super) loss: u32,
    /// Of a hundred replies so many are lost on top of that.
    pub(super) reply_loss: u32,
    waiting: Vec<Waiting>,
    rng: EngineRng,
}

/// A document that is good for 200 days, with so many mailboxes, K = W = `copies`.
pub(super) fn document(copies: u32, mailboxes: &[NodeId], set: &AuthoritySet) -> Document {
    let params = Params { copies, durable_copies: copies, tick: STEP, ..Params::standard() };
    let relay = |id: NodeId| Relay {
        id,
        addresses: Vec::new(),
        onion: None,
        link_key: LinkKey(id.0),
        sphinx_key: SphinxPublic([9; 32]),
        next_sphinx_key: SphinxPublic([9; 32]),
        weight: 1,
        reliability: u8::MAX,
        family: String::new(),
    };
    let named = |number: u8| relay(SigningSecret::from_seed(&[200 + number; 32]).node_id());
    let mut placed = mailboxes.to_vec();
    placed.sort_unstable();
    let view = View {
        network: set.network(),
        epoch: Epoch(1),
        valid_after: NOW,
        valid_until: NOW + params.day * 200,
        put_effort: params.put_effort,
        params,
        shared_random: [0; 32],
        layers: (0..3).map(|number| vec![named(number)]).collect(),
        entries: vec![named(3)],
        mailboxes: mailboxes.iter().copied().map(relay).collect(),
        placements: vec![Placement { from: Epoch(1), mailboxes: placed }],
        memory: Memory::default(),
    };
    let bytes = sign_view(&view, &[SigningSecret::from_seed(&[1; 32])]);
    UnverifiedDocument::from_bytes(&bytes).unwrap().verify_timelessly(set).unwrap()
}

/// The secret of a test's mailbox.
pub(super) fn mailbox_secret(number: u8) -> SigningSecret {
    SigningSecret::from_seed(&[77 + number; 32])
}

impl World {
    /// So many mailboxes, K = W = `copies`, and two people who do not know each other.
    pub(super) fn new(copies: u32, mailboxes: u8) -> Self {
        let (mut alice, mut bob) = (core(), core());
        bob.store = Store::in_memory().unwrap();
        let (network, mut rng) = (bob.authorities.network(), random::seeded([3; 32]));
        bob.store.transaction(|tx| signal::create_account(tx, "Bob", network, NOW, &mut rng)).unwrap();
        bob.rng = random::seeded([4; 32]);
        let ids: Vec<_> = (0..mailboxes).map(|number| mailbox_secret(number).node_id()).collect();
        let document = document(copies, &ids, &alice.authorities);
        for person in [&mut alice, &mut bob] {
            person.handle_document(NOW, &document.bytes()).unwrap();
        }
        let mailbox = |number: u8| Mailbox {
            secret: mailbox_secret(number),
            nature: Nature::Honest,
            boxes: BTreeMap::new(),
            gone: BTreeSet::new(),
            taken: BTreeMap::new(),
            unnamed: Vec::new(),
            previous: DigestHash::default(),
            history: Vec::new(),
            asked: Vec::new(),
            brought: Vec::new(),
        };
        let mailboxes = (0..mailboxes).map(|number| (mailbox_secret(number).node_id(), mailbox(number))).collect();
        Self {
            now: NOW,
            document,
            mailboxes,
            people: vec![alice, bob],
            online: vec![true; 2],
            seen: vec![Tick(0); 2],
            entry_since: Tick(0),
            loss: 0,
            reply_loss: 0,
            waiting: Vec::new(),
            rng: random::seeded([5; 32]),
        }
    }

    /// The same, and Alice (0) and Bob (1) are contacts who have written to each other.
    pub(super) fn befriended(copies: u32, mailboxes: u8) -> Self {
        let mut world = Self::new(copies, mailboxes);
        let link = invited(&mut world.people[0], NOW);
        world.steps(10);
        let now = world.now;
        world.people[1].accept(now, &link, Some("Alice"), 7).unwrap();
        world.steps(60);
        world.write(0, "Bob", "hello");
        world.write(1, "Alice", "hello");
        world.steps(120);
        assert_eq!((world.read(0), world.read(1)), (vec!["hello".to_owned()], vec!["hello".to_owned()]));
        world
    }

    /// Another course of losses.
    pub(super) fn reseed(&mut self, seed: u8) {
        self.rng = random::seeded([seed; 32]);
    }

    pub(super) fn write(&mut self, person: usize, to: &str, text: &str) -> messages::MessageId {
        self.people[person].send_text(self.now, to, text).unwrap()
    }

    /// What a person has received.
    pub(super) fn read(&self, person: usize) -> Vec<String> {
        let all = messages::list(self.people[person].store.connection(), None, 10_000).unwrap();
        let of = all.into_iter().filter(|one| one.message.direction == messages::Direction::In);
        of.filter_map(|one| one.message.text).collect()
    }

    pub(super) fn state(&self, person: usize, id: messages::MessageId) -> messages::State {
        messages::by_id(self.people[person].store.connection(), id).unwrap().message.state
    }

    pub(super) fn warnings(&self, person: usize) -> Vec<String> {
        self.people[person].status(self.now).unwrap().warnings
    }

    /// Ends a person's process and starts it anew.
    pub(super) fn restart(&mut self, person: usize) {
        let old = self.people.remove(person);
        let (authorities, rng) = (old.authorities.clone(), random::fork(&mut self.rng));
        let new = Core::new(self.now, old.into_store(), authorities, rng).unwrap();
        self.people.insert(person, new);
        self.waiting.retain(|waiting| waiting.person != person);
    }

    pub(super) fn steps(&mut self, count: u32) {
        (0..count).for_each(|_| self.step());
    }

    /// Until a message is stored, and not a step longer: its receipt is still to come.
    pub(super) fn steps_until_stored(&mut self, person: usize, id: messages::MessageId) {
        let stored = |world: &Self| world.state(person, id) == messages::State::Stored;
        for _ in 0..60 {
            if stored(self) {
                return;
            }
            self.step();
        }
        panic!("{:?} and not just stored", self.state(person, id));
    }

    /// Time passes and nobody is online.
    pub(super) fn pass(&mut self, time: Duration) {
        (0..self.people.len()).for_each(|person| self.disconnect(person));
        self.now = self.now + time;
    }

    /// A day in which whoever is online is so for six minutes.
    pub(super) fn day(&mut self) {
        self.pass(self.document.params.day - STEP * 45);
        self.steps(45);
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        let today = Day::at(self.now, self.document.params.day);
        for mailbox in self.mailboxes.values_mut() {
            mailbox.boxes.retain(|_, sealed| sealed.expiry >= today);
        }
        self.publish();
        let (due, later) = std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.due <= self.now);
        self.waiting = later;
        for Waiting { person, purpose, mailbox, answer, .. } in due {
            let hash = self.document.hash();
            self.people[person].handle_answer(self.now, &purpose, &hash, mailbox, answer).unwrap();
        }
        for person in 0..self.people.len() {
            if self.online[person] {
                self.connect(person);
                self.people[person].handle_timers(self.now);
                self.ticks(person);
            } else {
                self.disconnect(person);
            }
        }
    }

    fn connect(&mut self, person: usize) {
        let core = &mut self.people[person];
        if core.connection.is_none() {
            let session = core.new_session();
            core.handle_connected(self.now, &session, self.document.entries[0].id);
        }
    }

    fn disconnect(&mut self, person: usize) {
        if self.people[person].connection.is_none() {
            return;
        }
        self.people[person].handle_disconnected();
        for waiting in self.waiting.extract_if(.., |waiting| waiting.person == person) {
            if let Purpose::Get(key, _) = waiting.purpose {
                self.people[person].handle_get_broken(waiting.due - REPLY, key);
            }
        }
    }

    /// A Put slot, three upkeep ticks and three of the get clock.
    fn ticks(&mut self, person: usize) {
        let now = self.now;
        let core = &mut self.people[person];
        let put = match core.next_put(now).unwrap() {
            Some(id) => id,
            None => core.next_decoy(now).unwrap(),
        };
        let put = core.put_job(put, crate::core::build::Slot::Put);
        self.send(person, put);
        for _ in 0..3 {
            let upkeep = self.people[person].next_upkeep(now);
            self.send(person, upkeep);
            let get = self.people[person].next_get_job(now);
            self.send(person, get);
        }
    }

    fn send(&mut self, person: usize, job: Option<Job>) {
        let Some((purpose, command, Some(mailbox))) = job else { return };
        self.people[person].handle_sent(self.now, &purpose, Pace(1)).unwrap();
        if self.rng.random_ratio(self.loss, 100) {
            return;
        }
        let answer = self.ask(mailbox, command);
        if self.reply_loss > 0 && self.rng.random_ratio(self.reply_loss, 100) {
            return;
        }
        if let Some(answer) = answer {
            self.waiting.push(Waiting { due: self.now + REPLY, person, purpose, mailbox, answer });
        }
    }

    fn ask(&mut self, id: NodeId, command: Command) -> Option<Told> {
        if self.mailboxes[&id].nature == Nature::Down {
            return None;
        }
        match command {
            Command::Put { sealed, .. } => self.put(id, &sealed),
            Command::Get { id: wanted, .. } => self.mailboxes.get_mut(&id)?.hand_out(&wanted, self.now),
            Command::Ack { id: acked, .. } => {
                for mailbox in self.mailboxes.values_mut() {
                    mailbox.boxes.remove(&acked);
                    mailbox.gone.insert(acked);
                }
                None
            }
            Command::Loop => Some(Told::Looped),
        }
    }

    /// Stores on as many holders as are up, and signs with them.
    fn put(&mut self, id: NodeId, sealed: &SealedBox) -> Option<Told> {
        let network = self.document.network;
        let content = sealed.verify(&network).expect("the client signs well");
        self.mailboxes.get_mut(&id)?.brought.push((sealed.clone(), self.now));
        if sealed.expiry < Day::at(self.now, self.document.params.day) {
            return Some(Told::Refused);
        }
        let today = Day::at(self.now, self.document.params.day);
        let taken = |mailbox: &Mailbox| {
            mailbox.taken.get(&sealed.id).is_some_and(|(other, until)| *other != content && today <= *until)
        };
        if self.mailboxes.values().any(taken) {
            return Some(Told::Conflict);
        }
        let copies = self.document.params.copies as usize;
        let mut of: Vec<_> = holders(&self.document, &sealed.id).into_iter().take(copies).collect();
        of.sort_by_key(|holder| *holder != id);
        let mut signed = Vec::new();
        let first = holders(&self.document, &sealed.id)[0];
        let held = self.mailboxes.values().any(|mailbox| mailbox.boxes.contains_key(&sealed.id));
        for holder in of.iter().filter(|holder| self.mailboxes[*holder].nature != Nature::Down) {
            let mailbox = &self.mailboxes[holder];
            signed.push(HolderSignature::sign(&mailbox.secret, &network, &sealed.id, &content, sealed.expiry));
        }
        if signed.len() < copies {
            return Some(Told::Pending);
        }
        for holder in of {
            let mailbox = self.mailboxes.get_mut(&holder)?;
            mailbox.taken.insert(sealed.id, (content, sealed.expiry));
            mailbox.store(sealed);
        }
        if !held {
            self.mailboxes.get_mut(&first)?.unnamed.push(BoxTag::of(&sealed.id));
        }
        let silent = self.mailboxes[&id].nature == Nature::Silent;
        signed.resize(2, HolderSignature::NONE);
        (!silent).then(|| Told::Stored([signed[0], signed[1]]))
    }

    /// Every mailbox that has something to name publishes a digest; who is online gets it, and what it missed of the last day.
    fn publish(&mut self) {
        let tick = Tick::at(self.now, self.document.params.tick);
        let (network, hash) = (self.document.network, self.document.hash());
        for (id, mailbox) in &mut self.mailboxes {
            let tags = std::mem::take(&mut mailbox.unnamed);
            if tags.is_empty() {
                continue;
            }
            let previous = mailbox.previous;
            let digest = Digest { network, document: hash, mailbox: *id, district: District(0), tick, previous, tags };
            let signed = digest.sign(&mailbox.secret);
            mailbox.previous = signed.hash();
            mailbox.history.push((tick, signed.as_bytes().to_vec()));
        }
        let oldest = Tick::at(self.now - self.document.params.digest_history, self.document.params.tick);
        for mailbox in self.mailboxes.values_mut() {
            mailbox.history.retain(|(tick, _)| *tick >= oldest);
        }
        for (person, core) in self.people.iter_mut().enumerate().filter(|(person, _)| self.online[*person]) {
            let seen = std::mem::replace(&mut self.seen[person], tick.next());
            for (_, bytes) in self.mailboxes.values().flat_map(|mailbox| &mailbox.history).filter(|(at, _)| *at >= seen)
            {
                core.handle_digest(self.now, bytes);
            }
        }
    }

    /// Everyone's loop clock strikes: who wants sets gets them as the mailboxes would make them now, who wants digests gets those
    /// that the entry has.
    pub(super) fn hand_out_sets(&mut self) {
        let params = self.document.params.clone();
        let (now, made) = (self.now, Tick::at(self.now, params.tick));
        for core in &mut self.people {
            let Some(want) = core.next_want(now, &params) else { continue };
            let Some(mailbox) = self.mailboxes.get(&want.mailbox) else { continue };
            if want.what == Wanted::Digests {
                let range = Tick(want.first).max(self.entry_since)..Tick(want.end());
                let digests = mailbox.history.iter().filter(|(tick, _)| range.contains(tick));
                digests.for_each(|(_, bytes)| core.handle_digest(now, bytes));
                continue;
            }
            for number in (want.first..want.end()).rev() {
                let (tags, period) = mailbox.set(&params, want.what, number);
                let (network, document) = (self.document.network, self.document.hash());
                let head = SetHead { network, document, mailbox: want.mailbox, district: District(0), period, made };
                for part in head.sign(tags, &mailbox.secret) {
                    core.handle_set(now, part.as_bytes());
                }
            }
        }
    }

    /// The holders of a box, best first.
    pub(super) fn holders_of(&self, id: &BoxId) -> Vec<NodeId> {
        let copies = self.document.params.copies as usize;
        topology::holders(&self.document, id).into_iter().take(copies).collect()
    }
}
