//! Writers and readers of a cluster: each box is put until it is stored, fetched when a digest names it, acknowledged or not.

use crate::cluster::{Cluster, Command, MS, NETWORK, Seen};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTag, BoxTerms, ContentHash, SealedBox, StreamRoot},
    command::{Answer, HolderSignature},
    ids::{BoxId, District},
    primitives::Secret32,
    random::exponential,
    time::{Day, Timestamp},
};

/// A box that somebody writes.
pub(crate) struct Mail {
    pub(crate) sealed: SealedBox,
    pub(crate) content: ContentHash,
    pub(crate) ack: Secret32,
}

/// Boxes of 50 streams, sealed once for all seeds. One in 16 is contested.
pub(crate) fn mails(count: usize) -> &'static [Mail] {
    static ALL: LazyLock<Vec<Mail>> = LazyLock::new(|| {
        let streams = 50;
        let mut all = Vec::new();
        for stream in 0..streams {
            let root = StreamRoot::new([stream as u8 + 1; 32]);
            let (mut write, mut read) = (root.write_cap(), root.read_cap());
            for index in 0..5_000 / streams {
                let class = if index % 16 == 7 { BoxClass::Contested } else { BoxClass::Solo };
                let terms = BoxTerms { district: District(0), class, expiry: Day(20_000 + 15) };
                let sealed = write.seal_next(&NETWORK, terms, &[stream as u8, index as u8]).unwrap();
                let ack = read.expected().unwrap().ack_secret;
                read.advance();
                let content = sealed.content_hash(&NETWORK);
                all.push(Mail { sealed, content, ack });
            }
        }
        all
    });
    &ALL[..count]
}

#[derive(Debug, Default)]
pub(crate) struct State {
    puts: u32,
    gets: u32,
    pub(crate) stored: bool,
    pub(crate) named: bool,
    pub(crate) read: bool,
    pub(crate) acked: bool,
}

enum Doing {
    Put(usize),
    Get(usize),
    Ack,
}

/// All writers and readers, and what they know.
pub(crate) struct People {
    pub(crate) mails: &'static [Mail],
    pub(crate) states: Vec<State>,
    by_tag: BTreeMap<BoxTag, usize>,
    agenda: BTreeSet<(Timestamp, u8, usize)>,
    asked: BTreeMap<u64, Doing>,
    commands: u64,
    /// One in this many is acknowledged.
    pub(crate) ack_one_in: usize,
    pub(crate) conflicts: usize,
    pub(crate) pending: usize,
    pub(crate) absent: usize,
    /// From the first Put to the word of two disks.
    pub(crate) waits: Vec<Duration>,
    begun: Vec<Option<Timestamp>>,
}

const PUT: u8 = 0;
const GET: u8 = 1;
const ACK: u8 = 2;

impl People {
    /// Everything is written within `span` from now.
    pub(crate) fn new(cluster: &mut Cluster, count: usize, span: Duration) -> Self {
        let mails = mails(count);
        let mut agenda = BTreeSet::new();
        for number in 0..count {
            let at = cluster.now + span.mul_f64(cluster.random(1_000_000) as f64 / 1e6);
            agenda.insert((at, PUT, number));
        }
        Self {
            mails,
            states: mails.iter().map(|_| State::default()).collect(),
            by_tag: mails.iter().enumerate().map(|(number, mail)| (BoxTag::of(&mail.sealed.id), number)).collect(),
            agenda,
            asked: BTreeMap::new(),
            commands: 0,
            ack_one_in: 2,
            conflicts: 0,
            pending: 0,
            absent: 0,
            waits: Vec::new(),
            begun: vec![None; count],
        }
    }

    /// Runs cluster and people until `until`.
    pub(crate) fn run(&mut self, cluster: &mut Cluster, until: Timestamp) {
        while cluster.now < until {
            while let Some((at, what, number)) = self.agenda.first().copied().filter(|(at, ..)| *at <= cluster.now) {
                self.agenda.remove(&(at, what, number));
                self.act(cluster, what, number);
            }
            let next = self.agenda.first().map_or(until, |(at, ..)| (*at).min(until));
            for seen in cluster.run(next) {
                self.see(cluster, seen);
            }
        }
    }

    fn act(&mut self, cluster: &mut Cluster, what: u8, number: usize) {
        let (mail, state) = (&self.mails[number], &mut self.states[number]);
        let holders = cluster.holders(&mail.sealed.id);
        let copies = (cluster.params.copies as usize).min(holders.len());
        self.commands += 1;
        let again = cluster.now + 4_000 * MS + exponential(&mut cluster.rng, 2_000 * MS);
        let (doing, turn, command) = match what {
            PUT if state.stored => return,
            PUT => {
                state.puts += 1;
                self.begun[number].get_or_insert(cluster.now);
                self.agenda.insert((again, PUT, number));
                (Doing::Put(number), state.puts, Command::Put(Box::new(mail.sealed.clone()), mail.content))
            }
            GET if state.read => return,
            GET => {
                state.gets += 1;
                self.agenda.insert((again, GET, number));
                (Doing::Get(number), state.gets, Command::Get(mail.sealed.id))
            }
            _ => {
                state.acked = true;
                (Doing::Ack, 1, Command::Ack(mail.sealed.id, mail.ack.clone()))
            }
        };
        self.asked.insert(self.commands, doing);
        let Some(to) = holders.get((turn as usize - 1) % copies.max(1)) else { return };
        cluster.send(self.commands, *to, command);
    }

    fn see(&mut self, cluster: &mut Cluster, seen: Seen) {
        match seen {
            Seen::Digest { digest, .. } => {
                for tag in &digest.digest().tags {
                    let number = self.by_tag[tag];
                    if !self.states[number].named {
                        self.states[number].named = true;
                        let at = cluster.now + exponential(&mut cluster.rng, 1_000 * MS);
                        self.agenda.insert((at, GET, number));
                    }
                }
            }
            Seen::Answer { number, answer, .. } => match (self.asked.remove(&number), answer) {
                (Some(Doing::Put(number)), Answer::Stored([first, second])) => {
                    let (mail, state) = (&self.mails[number], &mut self.states[number]);
                    if second == HolderSignature::NONE {
                        assert!(state.acked, "one disk is not stored");
                    } else if cluster.params.durable_copies > 1 {
                        assert_ne!(first.holder, second.holder);
                        // One in eight is checked: it costs.
                        if number % 8 == 0 {
                            for word in [first, second] {
                                let sealed = &mail.sealed;
                                assert!(word.verify(&NETWORK, &sealed.id, &mail.content, sealed.expiry));
                            }
                        }
                    }
                    if !state.stored {
                        self.waits.push(cluster.now.since(self.begun[number].unwrap()));
                    }
                    state.stored = true;
                }
                (Some(Doing::Put(_)), Answer::Conflict) => self.conflicts += 1,
                (Some(Doing::Put(_)), Answer::Pending) => self.pending += 1,
                (Some(Doing::Get(number)), Answer::Found(sealed)) => {
                    assert!(*sealed == self.mails[number].sealed, "another box than was asked for");
                    if !std::mem::replace(&mut self.states[number].read, true) && number % self.ack_one_in == 0 {
                        let at = cluster.now + exponential(&mut cluster.rng, 5_000 * MS);
                        self.agenda.insert((at, ACK, number));
                    }
                }
                (Some(Doing::Get(number)), Answer::Gone) => {
                    assert!(self.states[number].acked, "gone before it was acknowledged");
                }
                (Some(Doing::Get(_)), Answer::Absent) => self.absent += 1,
                _ => {}
            },
        }
    }

    /// Numbers of the boxes for which `wanted` holds.
    pub(crate) fn which(&self, wanted: impl Fn(&State) -> bool) -> Vec<usize> {
        (0..self.states.len()).filter(|number| wanted(&self.states[*number])).collect()
    }

    pub(crate) fn id(&self, number: usize) -> BoxId {
        self.mails[number].sealed.id
    }
}
