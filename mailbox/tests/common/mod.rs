//! A mailbox on a bench: commands in, answers out, time in the test's hands.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::time::Duration;
use veilpost_mailbox::{
    engine::{Arrived, Back, Limits, Mailbox, Request, Terms},
    store::{BoxStore, Change, Cursor, Held, Result, Series, StoreError, Usage, Waiting, Walked},
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTag, BoxTerms, SealedBox, StreamRoot},
    command::{Answer, Command, Reply},
    digest::SignedDigest,
    geometry::SURB,
    ids::{BoxId, District, DocumentHash, NetworkId},
    primitives::{Secret32, SigningSecret},
    random::seeded,
    sphinx::Surb,
    time::{Day, Epoch, Tick, Timestamp},
};
use veilpost_pki::{Params, PutAdmission};

pub(crate) const NETWORK: NetworkId = NetworkId([1; 32]);
pub(crate) const EPOCH: Epoch = Epoch(7);
pub(crate) const DOCUMENT: DocumentHash = DocumentHash([2; 8]);
/// Noon of day 20,000.
pub(crate) const START: Timestamp = Timestamp::from_secs(20_000 * 86_400 + 43_200);
pub(crate) const TODAY: u32 = 20_000;
const LATER: Duration = Duration::from_secs(3_600);

pub(crate) struct Rig<S> {
    pub(crate) engine: Option<Mailbox<S>>,
    pub(crate) now: Timestamp,
    pub(crate) params: Params,
    pub(crate) limits: Limits,
    pub(crate) admission: PutAdmission,
    commands: u64,
}

/// Of a network with this mailbox alone.
pub(crate) fn terms(params: &Params) -> Terms {
    Terms {
        network: NETWORK,
        document: DOCUMENT,
        params: params.clone(),
        placement: vec![secret().node_id()],
        copies: 1,
        durable_copies: 1,
        listed: [secret().node_id()].into(),
    }
}

pub(crate) fn secret() -> SigningSecret {
    SigningSecret::from_seed(&[7; 32])
}

/// A SURB that carries a number in place of a header.
pub(crate) fn surb(number: u64) -> Surb {
    let mut bytes = [1; SURB];
    bytes.first_chunk_mut().map(|place: &mut [u8; 8]| *place = number.to_be_bytes()).unwrap();
    Surb::from_bytes(&bytes).unwrap()
}

pub(crate) fn number(surb: &Surb) -> u64 {
    u64::from_be_bytes(*surb.as_bytes().first_chunk().unwrap())
}

impl<S: BoxStore> Rig<S> {
    pub(crate) fn new(store: S) -> Self {
        let limits = Limits { quota_bytes: 1 << 30, bucket_bytes: u64::MAX, free_disk_floor: 0 };
        let (params, admission) = (Params::standard(), PutAdmission::free(NETWORK));
        let mut rig = Self { engine: None, now: START, params, limits, admission, commands: 0 };
        rig.start(store).unwrap();
        rig
    }

    fn start(&mut self, store: S) -> Result<()> {
        let terms = terms(&self.params);
        let engine = Mailbox::new(self.now, secret(), terms, self.limits, store, seeded([3; 32]))?;
        let engine = self.engine.insert(engine);
        // It knows that it is alone, and that nothing was decided elsewhere, once it has gone through its boxes.
        for step in 0..3 {
            engine.poll_sweep(self.now + Duration::from_secs(step))?;
        }
        Ok(())
    }

    /// Everything that is not in the store is forgotten. Takes up changed parameters and limits.
    pub(crate) fn restart(&mut self) {
        let store = self.engine.take().unwrap().into_store();
        self.start(store).unwrap();
    }

    pub(crate) fn engine(&mut self) -> &mut Mailbox<S> {
        self.engine.as_mut().unwrap()
    }

    /// Commands of one batch, and their answers in the same order.
    pub(crate) fn ask_all(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        let (at, first) = (self.now, self.commands);
        let arrived = commands.into_iter().map(|command| {
            self.commands += 1;
            Arrived {
                at,
                epoch: EPOCH,
                document: DOCUMENT,
                back: Back::Surb(surb(self.commands - 1)),
                request: Request::check(command, &self.admission, &secret()),
            }
        });
        let arrived: Vec<_> = arrived.collect();
        let count = arrived.len() as u64;
        self.engine().handle_commands(at, arrived);
        let mut answers = BTreeMap::new();
        while let Some((_, Back::Surb(surb), reply)) = self.engine().poll_reply(at + LATER) {
            answers.insert(number(&surb), Reply::decode(&reply).unwrap().answer);
        }
        (first..first + count).map(|number| answers.remove(&number).unwrap()).collect()
    }

    pub(crate) fn ask(&mut self, command: Command) -> Answer {
        self.ask_all(vec![command]).remove(0)
    }

    pub(crate) fn put(&mut self, sealed: &SealedBox) -> Answer {
        self.ask(Command::put(sealed.clone()))
    }

    pub(crate) fn get(&mut self, id: BoxId) -> Answer {
        self.ask(Command::Get { id, district: District(0) })
    }

    pub(crate) fn ack(&mut self, mail: &Mail, right: bool) -> Answer {
        let secret = if right { mail.ack.clone() } else { Secret32::new([9; 32]) };
        self.ask(Command::Ack { id: mail.sealed.id, district: District(0), secret })
    }

    /// Goes to the next tick and publishes.
    pub(crate) fn tick(&mut self) -> Result<Option<SignedDigest>> {
        let tick = self.params.tick;
        self.now = Tick::at(self.now, tick).next().start(tick);
        let now = self.now;
        self.engine().poll_digest(now)
    }

    pub(crate) fn tags(&mut self) -> Vec<BoxTag> {
        self.tick().unwrap().unwrap().digest().tags.clone()
    }

    pub(crate) fn days_pass(&mut self, days: u32) {
        self.now = self.now + self.params.day * days;
    }
}

/// A box and the secret that deletes it.
#[derive(Clone)]
pub(crate) struct Mail {
    pub(crate) sealed: SealedBox,
    pub(crate) ack: Secret32,
}

impl Mail {
    pub(crate) fn tag(&self) -> BoxTag {
        BoxTag::of(&self.sealed.id)
    }
}

/// Box 0 of stream `seed` with this content; equal seeds have equal ids.
pub(crate) fn mail_of(seed: u64, content: &[u8], class: BoxClass, expiry: u32) -> Mail {
    let mut root = [5; 32];
    root.first_chunk_mut().map(|place: &mut [u8; 8]| *place = seed.to_be_bytes()).unwrap();
    let root = StreamRoot::new(root);
    let terms = BoxTerms { district: District(0), class, expiry: Day(expiry) };
    Mail {
        sealed: root.write_cap().seal_next(&NETWORK, terms, content).unwrap(),
        ack: root.read_cap().expected().unwrap().ack_secret,
    }
}

pub(crate) fn mail(seed: u64) -> Mail {
    mail_of(seed, b"content", BoxClass::Solo, TODAY + 15)
}

/// True for a word of this mailbox that the box is stored.
pub(crate) fn is_stored(answer: &Answer, sealed: &SealedBox) -> bool {
    let Answer::Stored([first, _]) = answer else { return false };
    let content = sealed.content_hash(&NETWORK);
    first.holder == secret().node_id() && first.verify(&NETWORK, &sealed.id, &content, sealed.expiry)
}

/// A store whose writes fail when told to.
#[derive(Debug, Default)]
pub(crate) struct Faulty<S> {
    pub(crate) inner: S,
    pub(crate) apply_fails: bool,
    pub(crate) expire_fails: bool,
    pub(crate) drop_fails: bool,
    pub(crate) reads_fail: bool,
}

fn check(fails: bool) -> Result<()> {
    if fails { Err(StoreError::Failed("told to".into())) } else { Ok(()) }
}

impl<S: BoxStore> BoxStore for Faulty<S> {
    fn get(&self, id: &BoxId) -> Result<Option<Held>> {
        check(self.reads_fail)?;
        self.inner.get(id)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        check(self.apply_fails)?;
        self.inner.apply(changes)
    }

    fn expire(&mut self, today: Day) -> Result<usize> {
        check(self.expire_fails)?;
        self.inner.expire(today)
    }

    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>> {
        self.inner.waiting(limit)
    }

    fn walk(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Walked>> {
        check(self.reads_fail)?;
        self.inner.walk(after, limit)
    }

    fn records(&self, series: Series, from: u32, limit: usize) -> Result<Vec<(u32, Vec<u8>)>> {
        self.inner.records(series, from, limit)
    }

    fn newest(&self, series: Series) -> Result<Option<(u32, Vec<u8>)>> {
        self.inner.newest(series)
    }

    fn drop_records(&mut self, series: Series, before: u32) -> Result<()> {
        check(self.drop_fails)?;
        self.inner.drop_records(series, before)
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn usage_of(&self, bucket: Day) -> Usage {
        self.inner.usage_of(bucket)
    }
}
