//! The epoch's agreed view of the network.

use crate::{
    descriptor::{WORD_MAX, read_addresses, write_addresses},
    effort::{PUT_EFFORT_MAX, PutAdmission},
    params::Params,
    signed::AUTHORITIES_MAX,
};
use std::{collections::BTreeSet, net::SocketAddr};
use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{KEY, MIX_LAYERS},
    ids::{AuthorityId, LinkKey, NetworkId, NodeId},
    puzzle::Effort,
    sphinx::{Hop, SphinxPublic},
    time::{Day, Epoch, Timestamp},
};

/// Relays that one list of a document holds at most.
pub const RELAYS_MAX: usize = 10_000;
/// Placement sets that a document lists at most: the one in force and the announced one.
pub const PLACEMENTS_MAX: usize = 2;

/// A node as the document lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relay {
    /// Identity and Sphinx address.
    pub id: NodeId,
    /// Where it listens for QUIC.
    pub addresses: Vec<SocketAddr>,
    /// Its onion service, if any.
    pub onion: Option<String>,
    /// The key that it proves on links.
    pub link_key: LinkKey,
    /// The Sphinx key of the document's epoch.
    pub sphinx_key: SphinxPublic,
    /// The Sphinx key of the next epoch.
    pub next_sphinx_key: SphinxPublic,
    /// Share in path choice, relative to the others of its list; 0: not chosen.
    pub weight: u32,
    /// The share of packets that it lets through as others measured it, in 1/255; what the weight follows from.
    pub reliability: u8,
    /// Operator family.
    pub family: String,
}

impl Relay {
    /// The relay as a hop of this epoch's routes.
    pub fn hop(&self) -> Hop {
        Hop { address: self.id.0, key: self.sphinx_key }
    }

    fn write(&self, writer: &mut Writer) {
        writer.put(self.id.as_bytes());
        write_addresses(writer, &self.addresses);
        writer.bytes16(self.onion.as_deref().unwrap_or("").as_bytes()).put(self.link_key.as_bytes());
        writer.put(&self.sphinx_key.0).put(&self.next_sphinx_key.0).u32(self.weight);
        writer.u8(self.reliability).bytes16(self.family.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            id: NodeId(reader.array()?),
            addresses: read_addresses(reader)?,
            onion: Some(reader.text16(WORD_MAX, "onion address")?).filter(|o| !o.is_empty()).map(str::to_owned),
            link_key: LinkKey(reader.array()?),
            sphinx_key: SphinxPublic(reader.array()?),
            next_sphinx_key: SphinxPublic(reader.array()?),
            weight: reader.u32()?,
            reliability: reader.u8()?,
            family: reader.text16(WORD_MAX, "family")?.to_owned(),
        })
    }
}

/// The mailboxes that boxes are placed on, from an epoch on. Voted apart from liveness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// In force from this epoch on.
    pub from: Epoch,
    /// The set, ascending.
    pub mailboxes: Vec<NodeId>,
}

/// What a document hands on to the next one, so that the authorities need no memory of their own and one that was away knows it
/// too. Clients do not use it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Authorities that hid the value they had committed to, ascending: left out of the shared random value until that epoch.
    pub withheld: Vec<(AuthorityId, Epoch)>,
    /// Authorities that were proved to lie, ascending: their votes do not count until the set of authorities changes.
    pub equivocators: Vec<AuthorityId>,
    /// Mixes that are away, ascending: their layer is kept for them until that epoch, so that going away and coming back
    /// draws no new one.
    pub absent: Vec<Absent>,
}

/// A mix that is away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Absent {
    /// Which.
    pub id: NodeId,
    /// Its layer, from 1.
    pub layer: u8,
    /// How long the layer is kept for it.
    pub until: Epoch,
    /// Its reliability when it went: going away and coming back makes nobody good.
    pub reliability: u8,
}

impl Memory {
    fn write(&self, writer: &mut Writer) {
        writer.u8(self.withheld.len() as u8);
        for (author, until) in &self.withheld {
            writer.put(author.as_bytes()).u64(until.0);
        }
        writer.u8(self.equivocators.len() as u8);
        self.equivocators.iter().for_each(|author| {
            writer.put(author.as_bytes());
        });
        writer.u32(self.absent.len() as u32);
        for absent in &self.absent {
            writer.put(absent.id.as_bytes()).u8(absent.layer).u64(absent.until.0).u8(absent.reliability);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let few = |count: u8| {
            let count = usize::from(count);
            if count > AUTHORITIES_MAX { Err(DecodeError::TooLong("authorities")) } else { Ok(count) }
        };
        let count = few(reader.u8()?)?;
        let withheld = (0..count).map(|_| Ok((AuthorityId(reader.array()?), Epoch(reader.u64()?))));
        let withheld: Vec<_> = withheld.collect::<Result<_>>()?;
        let count = few(reader.u8()?)?;
        let equivocators: Vec<_> = (0..count).map(|_| reader.array().map(AuthorityId)).collect::<Result<_>>()?;
        let count = reader.count(RELAYS_MAX, "absent mixes")?;
        let absent = |reader: &mut Reader<'_>| {
            let absent = Absent {
                id: NodeId(reader.array()?),
                layer: reader.u8()?,
                until: Epoch(reader.u64()?),
                reliability: reader.u8()?,
            };
            let known = (1..=MIX_LAYERS).contains(&usize::from(absent.layer));
            if known { Ok(absent) } else { Err(DecodeError::Invalid("layer of an absent mix")) }
        };
        let absent: Vec<_> = (0..count).map(|_| absent(reader)).collect::<Result<_>>()?;
        let sorted = withheld.is_sorted_by(|a, b| a.0 < b.0)
            && equivocators.is_sorted_by(|a, b| a < b)
            && absent.is_sorted_by(|a, b| a.id < b.id);
        if sorted {
            Ok(Self { withheld, equivocators, absent })
        } else {
            Err(DecodeError::Invalid("order of the memory"))
        }
    }
}

/// The content of a network document. On its own it proves nothing: see [`crate::signed::Document`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The network.
    pub network: NetworkId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Not valid before.
    pub valid_after: Timestamp,
    /// Not valid from here on.
    pub valid_until: Timestamp,
    /// The parameters.
    pub params: Params,
    /// The epoch's shared random value.
    pub shared_random: [u8; KEY],
    /// Effort of a Put's puzzle for the usual retention: at least the parameter, at most [`PUT_EFFORT_MAX`]. It stands here and not
    /// among the parameters, which a round without a majority keeps: it follows the mailboxes' fill both ways.
    pub put_effort: u32,
    /// Mixes by layer.
    pub layers: Vec<Vec<Relay>>,
    /// Entries.
    pub entries: Vec<Relay>,
    /// Mailboxes.
    pub mailboxes: Vec<Relay>,
    /// Placement sets, the one in force first.
    pub placements: Vec<Placement>,
    /// What the next document builds on.
    pub memory: Memory,
}

fn at_most(wanted: u32, placements: &[Placement]) -> usize {
    let there = placements.first().map_or(0, |placement| placement.mailboxes.len());
    usize::try_from(wanted).unwrap_or(usize::MAX).min(there).max(1)
}

impl View {
    /// K: mailboxes that hold a box; no more than the placement set in force has.
    pub fn copies(&self) -> usize {
        at_most(self.params.copies, &self.placements)
    }

    /// W: disks that a box must be on before `Stored`; no more than the placement set in force has mailboxes.
    pub fn durable_copies(&self) -> usize {
        at_most(self.params.durable_copies, &self.placements)
    }

    /// What a Put of this document's epoch has to pay.
    pub fn put_admission(&self) -> PutAdmission {
        PutAdmission {
            network: self.network,
            shared_random: self.shared_random,
            effort: Effort(self.put_effort),
            box_days: self.params.box_days,
            day: Day::at(self.valid_after, self.params.day),
        }
    }

    /// The bytes that authorities sign.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(4_096);
        writer.put(b"VPD1").put(self.network.as_bytes()).u64(self.epoch.0);
        writer.u64(self.valid_after.as_millis()).u64(self.valid_until.as_millis());
        self.params.write(&mut writer);
        writer.put(&self.shared_random).u32(self.put_effort).u8(self.layers.len() as u8);
        for list in self.layers.iter().chain([&self.entries, &self.mailboxes]) {
            writer.u32(list.len() as u32);
            list.iter().for_each(|relay| relay.write(&mut writer));
        }
        writer.u8(self.placements.len() as u8);
        for placement in &self.placements {
            writer.u64(placement.from.0).u32(placement.mailboxes.len() as u32);
            placement.mailboxes.iter().for_each(|id| {
                writer.put(id.as_bytes());
            });
        }
        self.memory.write(&mut writer);
        writer.finish()
    }

    /// Decodes and checks shape, ranges and that no id or link key stands twice.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        if reader.take(4)? != b"VPD1" {
            return Err(DecodeError::Invalid("document version"));
        }
        let (network, epoch) = (NetworkId(reader.array()?), Epoch(reader.u64()?));
        let (valid_after, valid_until) = (read_time(&mut reader)?, read_time(&mut reader)?);
        let params = Params::read(&mut reader)?;
        let (shared_random, put_effort) = (reader.array()?, reader.u32()?);
        if usize::from(reader.u8()?) != MIX_LAYERS {
            return Err(DecodeError::Invalid("number of layers"));
        }
        let layers = (0..MIX_LAYERS).map(|_| read_relays(&mut reader)).collect::<Result<_>>()?;
        let (entries, mailboxes) = (read_relays(&mut reader)?, read_relays(&mut reader)?);
        let placements = read_placements(&mut reader)?;
        let memory = Memory::read(&mut reader)?;
        reader.finish()?;
        let view = Self {
            network,
            epoch,
            valid_after,
            valid_until,
            params,
            shared_random,
            put_effort,
            layers,
            entries,
            mailboxes,
            placements,
            memory,
        };
        view.check()?;
        Ok(view)
    }

    /// Every relay of the document with its place.
    pub fn relays(&self) -> impl Iterator<Item = (Place, &Relay)> {
        self.lists().flat_map(|(place, list)| list.iter().map(move |relay| (place, relay)))
    }

    /// True for a mailbox that is up, or that boxes are placed on although it is away.
    pub fn has_mailbox(&self, id: &NodeId) -> bool {
        self.mailboxes.iter().any(|mailbox| mailbox.id == *id)
            || self.placements.iter().any(|placement| placement.mailboxes.contains(id))
    }

    /// The relays of each place.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (Place, &Vec<Relay>)> {
        let layers = (1u8..).zip(&self.layers).map(|(layer, mixes)| (Place::Mix(layer), mixes));
        layers.chain([(Place::Entry, &self.entries), (Place::Mailbox, &self.mailboxes)])
    }

    /// Shape that every document must have, whoever made it.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] with what is wrong.
    pub fn check(&self) -> Result<()> {
        self.params.check()?;
        if !(self.params.put_effort..=PUT_EFFORT_MAX).contains(&self.put_effort) {
            return Err(DecodeError::Invalid("put effort"));
        }
        if self.valid_until <= self.valid_after {
            return Err(DecodeError::Invalid("validity"));
        }
        if self.layers.len() != MIX_LAYERS || self.layers.iter().any(Vec::is_empty) {
            return Err(DecodeError::Invalid("layers: each needs a mix"));
        }
        if self.entries.is_empty() || self.mailboxes.is_empty() {
            return Err(DecodeError::Invalid("relays: an entry and a mailbox are needed"));
        }
        let (mut ids, mut links) = (BTreeSet::new(), BTreeSet::new());
        if !self.relays().all(|(_, relay)| ids.insert(relay.id) && links.insert(relay.link_key)) {
            return Err(DecodeError::Invalid("relays: an id or link key stands twice"));
        }
        // A mailbox that is down stays in its placement set, but one at least must be up.
        let mailboxes: BTreeSet<_> = self.mailboxes.iter().map(|mailbox| mailbox.id).collect();
        let mut epochs = self.placements.iter().map(|placement| placement.from);
        let (in_force, announced) = (epochs.next().ok_or(DecodeError::Invalid("placement"))?, epochs.next());
        let in_time = in_force <= self.epoch && announced.is_none_or(|from| from > self.epoch);
        let placed = |placement: &Placement| placement.mailboxes.iter().any(|id| mailboxes.contains(id));
        let first_is_up = self.placements.first().is_some_and(placed);
        let none_empty = self.placements.iter().all(|placement| !placement.mailboxes.is_empty());
        if in_time && first_is_up && none_empty { Ok(()) } else { Err(DecodeError::Invalid("placement")) }
    }
}

/// What a relay does in a document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// A mix of this layer, 1 to [`MIX_LAYERS`].
    Mix(u8),
    /// An entry.
    Entry,
    /// A mailbox.
    Mailbox,
}

/// Beyond what a timestamp can hold there are several spellings of "never".
fn read_time(reader: &mut Reader<'_>) -> Result<Timestamp> {
    let millis = reader.u64()?;
    let time = Timestamp::from_millis(millis);
    if time.as_millis() == millis { Ok(time) } else { Err(DecodeError::Invalid("time")) }
}

fn read_relays(reader: &mut Reader<'_>) -> Result<Vec<Relay>> {
    let count = reader.count(RELAYS_MAX, "relays")?;
    // Not reserved ahead: a short document with a large count fails at its end, having allocated what it holds.
    (0..count).map(|_| Relay::read(reader)).collect()
}

fn read_placements(reader: &mut Reader<'_>) -> Result<Vec<Placement>> {
    let count = usize::from(reader.u8()?);
    if count > PLACEMENTS_MAX {
        return Err(DecodeError::TooLong("placements"));
    }
    let placement = |reader: &mut Reader<'_>| {
        let from = Epoch(reader.u64()?);
        let count = reader.count(RELAYS_MAX, "placement")?;
        let mailboxes: Vec<_> = (0..count).map(|_| reader.array().map(NodeId)).collect::<Result<_>>()?;
        if !mailboxes.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::Invalid("order of the placement"));
        }
        Ok(Placement { from, mailboxes })
    };
    (0..count).map(|_| placement(reader)).collect()
}
