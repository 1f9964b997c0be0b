//! Mixes and entries of a simulation, and what they have in common with mailboxes: starts and ends, documents and keys, errands, packets
//! that come.

use super::{
    Message, Simulation, Who,
    conduct::{self, Conduct},
    node::{Changed, Exchange, Node},
};
use rand::Rng as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use veilpost_cover::{Cover, findings::find};
use veilpost_daemon::observed::Observed;
use veilpost_mailbox::{
    engine::{Arrived, Back, Mailbox, Request},
    store::Series,
};
use veilpost_mixnode::{Engine, Limits, Origin};
use veilpost_packet::{
    command::Command,
    digest::SignedDigest,
    frame::{Flags, Frame, FrameKind, Want},
    ids::{NodeId, SessionAddress},
    random::fork,
    set::SignedSet,
    sphinx::{Packet, Unwrapped},
    time::{Tick, Timestamp},
};
use veilpost_pki::wire;

/// Digests that an entry fetches at once when it lacks some.
const DIGESTS_AT_ONCE: usize = 4_096;
/// Sets that an entry fetches at once when its process is new.
const SETS_AT_ONCE: usize = 64;
/// Nodes look at their errands this often at least, as they do after a failure.
const SHORTEST: Duration = Duration::from_millis(50);

pub(super) struct Relay {
    pub(super) node: Node,
    pub(super) engine: Option<Engine>,
    /// Mailboxes whose sets this entry's process has asked for.
    pub(super) sets_of: BTreeSet<usize>,
    shell: conduct::Shell,
}

impl Relay {
    pub(super) fn new(node: Node) -> Self {
        Self { node, engine: None, sets_of: BTreeSet::new(), shell: conduct::Shell::default() }
    }
}

impl Simulation {
    pub(super) fn node(&self, who: Who) -> &Node {
        match who {
            Who::Relay(number) => &self.relays.get(number).expect("a relay").node,
            Who::Mailbox(number) => &self.mailboxes.get(number).expect("a mailbox").node,
            Who::Authority(_) | Who::Client(_) => unreachable!("no node"),
        }
    }

    pub(super) fn node_mut(&mut self, who: Who) -> &mut Node {
        match who {
            Who::Relay(number) => &mut self.relays.get_mut(number).expect("a relay").node,
            Who::Mailbox(number) => &mut self.mailboxes.get_mut(number).expect("a mailbox").node,
            Who::Authority(_) | Who::Client(_) => unreachable!("no node"),
        }
    }

    /// Ends a relay's or mailbox's process: what waited there is lost. `power`: its machine's.
    pub fn kill_node(&mut self, who: Who, power: bool) {
        let node = self.node_mut(who);
        if power {
            node.cut_power()
        } else {
            node.kill()
        }
        match who {
            Who::Relay(number) => {
                let relay = self.relays.get_mut(number).expect("a relay");
                relay.engine = None;
                relay.sets_of.clear();
                self.hang_up_on(number);
            }
            Who::Mailbox(number) => {
                self.mailboxes.get_mut(number).expect("a mailbox").kill();
            }
            Who::Authority(_) | Who::Client(_) => {}
        }
        self.touch(who);
    }

    /// Starts a relay or mailbox, if it does not run.
    pub fn start_node(&mut self, who: Who) {
        if self.node(who).up {
            return;
        }
        let (now, network, authorities) = (self.now, self.network.clone(), self.authorities.clone());
        self.node_mut(who).start(now, &network, &authorities);
        let rng = fork(&mut self.rng);
        if let Who::Mailbox(number) = who {
            let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
            mailbox.cover = Some(Cover::new(mailbox.node.id, rng.clone()));
        }
        if let Who::Relay(number) = who {
            let limits = Limits { sessions: self.setup.sessions, ..Limits::default() };
            let relay = self.relays.get_mut(number).expect("a relay");
            relay.engine = Some(Engine::idle(relay.node.id, limits, rng));
        }
        self.touch(who);
    }

    /// Sets a node's clock: so many milliseconds ahead, or behind if negative.
    pub fn set_skew(&mut self, who: Who, ms: i64) {
        if let Who::Authority(number) = who {
            self.members.get_mut(number).expect("an authority").skew.ms = ms;
        } else {
            let now = self.now;
            let node = self.node_mut(who);
            node.skew.ms = ms;
            // A daemon sleeps by a clock that does not jump, a minute at most.
            (node.next_errand, node.next_change) = (node.skew.local(now), node.skew.local(now));
        }
        self.touch(who);
    }

    /// Turns a mix or entry bad, or good again.
    pub fn set_conduct(&mut self, relay: usize, conduct: Conduct) {
        self.relays.get_mut(relay).expect("a relay").shell = conduct::Shell::new(conduct);
        self.touch(Who::Relay(relay));
    }

    /// Mixes of each layer.
    pub fn width(&self) -> usize {
        self.setup.width
    }

    /// How many mixes and entries there are.
    pub fn relays(&self) -> usize {
        self.relays.len()
    }

    /// What a relay dropped so far, by reason.
    pub fn dropped(&self, relay: usize) -> BTreeMap<String, u64> {
        let engine = self.relays.get(relay).and_then(|relay| relay.engine.as_ref());
        let dropped = engine.into_iter().flat_map(Engine::dropped);
        dropped.map(|(reason, count)| (format!("{reason:?}"), *count)).collect()
    }

    /// Documents, keys and errands, for relays and mailboxes alike. Returns when to look again.
    pub(super) fn poll_node(&mut self, who: Who) -> Timestamp {
        let now = self.now;
        let node = self.node_mut(who);
        let local = node.skew.local(now);
        if local >= node.next_change {
            let changed = node.follow(now);
            self.handle_epochs(who, &changed);
        }
        let node = self.node_mut(who);
        if local >= node.next_errand && node.exchange.is_none() {
            self.run_errand(who);
        }
        let node = self.node(who);
        node.skew.global(node.next_change.min(node.next_errand))
    }

    fn handle_epochs(&mut self, who: Who, changed: &Changed) {
        match who {
            Who::Relay(number) => {
                let Relay { node, engine, .. } = self.relays.get_mut(number).expect("a relay");
                let Some(engine) = engine else { return };
                engine.handle_documents(node.documents.clone());
                for epoch in &changed.opened {
                    if let Some((key, table)) = node.memory(*epoch) {
                        engine.open_epoch(*epoch, key, table);
                    }
                }
                changed.closed.iter().for_each(|epoch| engine.close_epoch(*epoch));
                if engine.live().next().is_none() {
                    self.hang_up_on(number);
                }
            }
            Who::Mailbox(number) => {
                let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
                for epoch in &changed.opened {
                    mailbox.memory.extend(mailbox.node.memory(*epoch).map(|memory| (*epoch, memory)));
                }
                mailbox.memory.retain(|epoch, _| !changed.closed.contains(epoch));
            }
            Who::Authority(_) | Who::Client(_) => {}
        }
    }

    /// A relay's or mailbox's own loops; `None` while it does not run.
    pub fn cover(&self, who: Who) -> Option<&Cover> {
        match who {
            Who::Relay(number) => self.relays.get(number)?.engine.as_ref().map(Engine::cover),
            Who::Mailbox(number) => self.mailboxes.get(number)?.cover.as_ref(),
            Who::Authority(_) | Who::Client(_) => None,
        }
    }

    fn observed(&self, who: Who) -> Observed {
        let fill = match who {
            Who::Mailbox(number) => self.mailboxes.get(number).and_then(|mailbox| mailbox.engine.as_ref()),
            _ => None,
        };
        let measured = self.cover(who).map(|cover| cover.findings().reports.clone()).unwrap_or_default();
        Observed { fill: fill.map_or(0, Mailbox::fill), measured }
    }

    /// As `daemon::authorities::follow`, one exchange at a time.
    fn run_errand(&mut self, who: Who) {
        let (now, start, jitter) = (self.now, self.rng.random_range(0..64), self.rng.random_range(0.0..0.2));
        self.exchanges += 1;
        let (number, phase) = (self.exchanges, self.network.schedule.phase());
        let observed = self.observed(who);
        let node = self.node_mut(who);
        let local = node.skew.local(now);
        let Some(errand) = node.plan.errand(local, node.newest(), node.may_tell(local), start) else {
            node.next_errand = local + node.plan.nap(local) + phase.mul_f64(jitter);
            return;
        };
        let mut messages = Vec::new();
        if let Some(epoch) = errand.descriptor {
            messages.push(wire::Message::Descriptor(node.descriptor(epoch, observed)));
        }
        if errand.document {
            messages.push(wire::Message::WantDocument(node.newest()));
        }
        let due = node.plan.descriptor_due(local);
        node.exchange = Some(Exchange { number, errand, due });
        node.next_errand = Timestamp::FAR_FUTURE;
        let to = self.members.iter().position(|member| member.id == errand.authority);
        let to = Who::Authority(to.expect("the network file lists them"));
        self.send(who, to, Message::Errand { from: who, number, messages });
    }

    /// The answers of an exchange; `None` if the authority could not be reached.
    pub(super) fn deliver_answers(&mut self, to: Who, number: u64, answers: Option<Vec<wire::Message>>) {
        let (now, authorities) = (self.now, self.authorities.clone());
        let node = self.node_mut(to);
        let Some(Exchange { errand, due, .. }) = node.exchange.take_if(|exchange| exchange.number == number) else {
            return;
        };
        let local = node.skew.local(now);
        node.next_errand = local + SHORTEST;
        let Some(answers) = answers else { return node.plan.failed(local, errand.authority) };
        let mut told = None;
        for answer in answers {
            match answer {
                wire::Message::Answer(_) => told = errand.descriptor.map(|epoch| (epoch, due.1)),
                wire::Message::Document(bytes) => drop(node.offer(now, &authorities, &bytes)),
                _ => {}
            }
        }
        node.plan.done(local, errand.authority, told);
    }

    pub(super) fn deliver_packet(&mut self, to: Who, from: NodeId, flags: Flags, packet: &Packet) {
        let now = self.now;
        let packets = self.setup.packets;
        let node = self.node(to);
        let local = node.skew.local(now);
        let Some((epoch, opener)) = node.key_for(flags) else {
            self.lost_keys += 1;
            return;
        };
        let document = node.documents.get(epoch).expect("an open epoch's document is known");
        let Some((place, _)) = document.relay(&from) else { return };
        let (named, admission) = (document.hash(), document.put_admission());
        let Ok(unwrapped) = packets.unwrap(&opener, packet) else { return };
        match to {
            Who::Relay(number) => {
                let relay = self.relays.get_mut(number).expect("a relay");
                if let Some(engine) = &mut relay.engine {
                    let _counted = engine.handle_unwrapped(local, epoch, Origin::Node { id: from, place }, unwrapped);
                }
            }
            Who::Mailbox(number) => {
                let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
                let Some((key, table)) = mailbox.memory.get_mut(&epoch) else { return };
                let tag = key.shorten(&unwrapped.tag().0);
                if table.check_and_insert(tag).is_err() {
                    return;
                }
                mailbox.node.log_tags(epoch, &[tag]);
                let Unwrapped::Deliver { payload, surb, .. } = unwrapped else { return };
                if let Some(id) = surb {
                    let _counted = mailbox.cover.as_mut().map(|cover| cover.handle_returned(local, &id, &payload));
                    return;
                }
                let opened = payload.open_forward().and_then(|plain| Command::decode(&plain).ok());
                let Some((surb, command)) = opened else { return };
                self.ledger.command(&command);
                if let Some(watch) = &mut self.watch {
                    watch.command(now, number, &command);
                }
                let request = Request::check(command, &admission, &mailbox.node.secret());
                let arrived = Arrived { at: local, epoch, document: named, back: Back::Surb(surb), request };
                if let Some(engine) = &mut mailbox.engine {
                    engine.handle_commands(local, vec![arrived]);
                }
            }
            Who::Authority(_) | Who::Client(_) => {}
        }
    }

    pub(super) fn deliver_from_client(&mut self, to: usize, session: SessionAddress, frame: &Frame) {
        let relay = self.relays.get_mut(to).expect("a relay");
        let local = relay.node.skew.local(self.now);
        let Some(engine) = &mut relay.engine else { return };
        match frame.kind() {
            FrameKind::Packet => {
                let packet = Packet::from_bytes(frame.body()).expect("a frame's body is a packet");
                let Some((epoch, opener)) = relay.node.key_for(frame.flags()) else {
                    self.lost_keys += 1;
                    return;
                };
                if let Ok(unwrapped) = self.setup.packets.unwrap(&opener, &packet) {
                    let _counted = engine.handle_unwrapped(local, epoch, Origin::Session(session), unwrapped);
                }
            }
            FrameKind::Want => engine.handle_want(&session, &Want::decode(frame.body()).expect("a want")),
            _ => {}
        }
    }

    /// An entry that lacks digests before this one asks for them, as it does when a mailbox's link comes up.
    pub(super) fn deliver_digest(&mut self, to: usize, from: usize, bytes: &[u8]) {
        let digest = SignedDigest::verify(bytes).expect("mailboxes sign");
        let mailbox = self.mailboxes.get(from).expect("a mailbox");
        let relay = self.relays.get_mut(to).expect("a relay");
        let local = relay.node.skew.local(self.now);
        let (id, Some(engine)) = (mailbox.node.id, &mut relay.engine) else { return };
        let Some(want) = engine.want_from(local, &id) else { return };
        if want.first < digest.digest().tick.0
            && let Some(history) = &mailbox.engine
        {
            let earlier = history.digests(Tick(want.first), DIGESTS_AT_ONCE).unwrap_or_default();
            for bytes in earlier.iter().filter(|earlier| earlier[..] != *bytes) {
                let earlier = SignedDigest::verify(bytes).expect("mailboxes sign");
                if earlier.digest().tick < digest.digest().tick {
                    let _refused = engine.handle_digest(local, &id, &earlier);
                }
            }
        }
        let _refused = engine.handle_digest(local, &id, &digest);
        self.fetch_sets(to, from);
    }

    /// A new process of an entry asks for all sets, as it does when a mailbox's link comes up.
    fn fetch_sets(&mut self, to: usize, from: usize) {
        let (mailbox, relay) = (self.mailboxes.get(from), self.relays.get_mut(to));
        let (mailbox, relay) = (mailbox.expect("a mailbox"), relay.expect("a relay"));
        let (Some(engine), Some(history)) = (&mut relay.engine, &mailbox.engine) else { return };
        if !relay.sets_of.insert(from) {
            return;
        }
        let local = relay.node.skew.local(self.now);
        for series in [Series::HourlySet, Series::DailySet] {
            for (_, parts) in history.sets(series, 0, SETS_AT_ONCE).unwrap_or_default() {
                for part in parts {
                    let set = SignedSet::verify(&part).expect("mailboxes sign");
                    let _refused = engine.handle_set(local, &mailbox.node.id, &set);
                }
            }
        }
    }

    pub(super) fn deliver_set(&mut self, to: usize, from: usize, bytes: &[u8]) {
        let set = SignedSet::verify(bytes).expect("mailboxes sign");
        let id = self.mailboxes.get(from).expect("a mailbox").node.id;
        let relay = self.relays.get_mut(to).expect("a relay");
        let local = relay.node.skew.local(self.now);
        if let Some(engine) = &mut relay.engine {
            let _refused = engine.handle_set(local, &id, &set);
        }
    }

    pub(super) fn poll_relay(&mut self, number: usize) -> Timestamp {
        let who = Who::Relay(number);
        if !self.node(who).up {
            return Timestamp::FAR_FUTURE;
        }
        let wake = self.poll_node(who);
        let Relay { node, engine, shell, .. } = self.relays.get_mut(number).expect("a relay");
        let (id, local, skew) = (node.id, node.skew.local(self.now), node.skew);
        let engine = engine.as_mut().expect("a node that is up has an engine");
        for (epoch, tags) in engine.take_new_tags() {
            node.log_tags(epoch, &tags);
        }
        while let Some(job) = engine.poll_loop_job(local) {
            engine.handle_loop_built(self.setup.packets.run_loop(job));
        }
        if let Some(evidence) = engine.poll_evidence(local) {
            engine.handle_findings(find(&evidence, &id));
        }
        let loops: Vec<_> = std::iter::from_fn(|| engine.poll_loop(local)).collect();
        let packets = std::iter::from_fn(|| engine.poll_forward(local)).collect();
        let packets: Vec<_> = loops.into_iter().chain(shell.mangle(local, &mut self.rng, packets)).collect();
        let frames: Vec<_> = std::iter::from_fn(|| engine.poll_downlink(local)).collect();
        let due = engine.next_wake().unwrap_or(Timestamp::FAR_FUTURE).min(shell.next_wake());
        for forward in packets {
            let to = self.by_id.get(&forward.to).copied().expect("the engine checks next hops");
            self.send(who, to, Message::Packet { from: id, flags: forward.flags, packet: forward.packet });
        }
        for (session, frame) in frames {
            match self.client_of(&session) {
                Some(client) => self.send(who, Who::Client(client), Message::ToClient { session, frame }),
                None => self.close_session(number, &session),
            }
        }
        wake.min(skew.global(due))
    }

    pub(super) fn close_session(&mut self, relay: usize, session: &SessionAddress) {
        let relay = self.relays.get_mut(relay).expect("a relay");
        let local = relay.node.skew.local(self.now);
        if let Some(engine) = &mut relay.engine {
            engine.close_session(local, session);
        }
    }
}
