//! From agreed votes to the next document. Pure: whoever holds the same votes and reveals finds the same bytes.
//!
//! A node is in if a majority of the counted votes hold its descriptor byte for byte; a parameter has the value that a majority
//! names, else the value it had. At least q votes must count, so a majority holds an honest one. The effort of a Put's puzzle follows
//! from the fill in the mailboxes' descriptors, shares in path choice from what nodes measured of each other ([`crate::reliability`]).

use crate::{
    descriptor::{Descriptor, Role},
    document::{Memory, Placement, RELAYS_MAX, Relay, View},
    effort,
    layers::Layout,
    params::Params,
    reliability,
    schedule::Schedule,
    signed::{Committee, Document},
    vote::{Base, Vote, commitment},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use veilpost_packet::{
    geometry::{HASH, KEY, MIX_LAYERS},
    ids::{AuthorityId, LinkKey, NetworkId, NodeId},
    primitives::{hash, label},
    time::Epoch,
};

/// How long an authority that hid its value is left out of the shared random value, in epochs.
pub const WITHHELD_EPOCHS: u64 = 24;
/// Parameters that a network keeps for good: ticks and days are numbered from the Unix epoch by their length, and numbers must not
/// run backwards.
const FIXED: [&str; 2] = ["tick", "day"];

/// What a round agreed on.
#[derive(Debug)]
pub struct Agreed<'a> {
    /// The network.
    pub network: NetworkId,
    /// The epoch that the document is for.
    pub epoch: Epoch,
    /// When it begins.
    pub schedule: &'a Schedule,
    /// Who decides about it.
    pub committee: &'a Committee,
    /// One vote of each author that made one only.
    pub votes: &'a BTreeMap<AuthorityId, Arc<Vote>>,
    /// The revealed values.
    pub reveals: &'a BTreeMap<AuthorityId, [u8; KEY]>,
    /// Authors that were seen to make two different votes or reveals in this round.
    pub equivocators: &'a BTreeSet<AuthorityId>,
}

/// Why there is no document, in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TallyError {
    /// Too few votes.
    #[error("{found} votes count; {needed} are needed")]
    Votes {
        /// Votes that count.
        found: usize,
        /// The threshold.
        needed: usize,
    },
    /// This authority lacks the document that the others build on.
    #[error("the other authorities build on a document of epoch {} that is not here yet", .0.0)]
    Base(Epoch),
    /// No majority for a parameter, and no document before that had one.
    #[error("the authorities do not agree on the parameter {0}: compare their [params]")]
    Parameter(&'static str),
    /// The parameters do not fit together.
    #[error("the parameters that the authorities agree on do not work: {0}")]
    Parameters(String),
    /// Too few nodes.
    #[error(
        "a network needs a mix in each of {MIX_LAYERS} layers, an entry and a mailbox; {mixes} mixes, {entries} entries and {mailboxes} mailboxes published a descriptor that a majority admits"
    )]
    TooFew {
        /// Mixes.
        mixes: usize,
        /// Entries.
        entries: usize,
        /// Mailboxes.
        mailboxes: usize,
    },
}

impl Agreed<'_> {
    /// Authors whose vote does not count: liars of this round, of those before, and those whom a vote proves to be.
    fn liars(&self, base: Option<&Document>) -> BTreeSet<AuthorityId> {
        let before = base.into_iter().flat_map(|base| base.memory.equivocators.iter().copied());
        let proofs = self.votes.values().flat_map(|vote| &vote.proofs);
        let proved =
            proofs.filter(|proof| proof.network() == self.network).map(crate::statement::EquivocationProof::author);
        let all = before.chain(proved).chain(self.equivocators.iter().copied());
        all.filter(|author| self.committee.contains(author)).collect()
    }

    /// The document that the round builds on: the newest one that more votes name than can be hostile.
    pub fn base(&self) -> Option<Base> {
        let mut named: BTreeMap<Base, usize> = BTreeMap::new();
        for base in self.votes.values().filter_map(|vote| vote.base) {
            *named.entry(base).or_default() += 1;
        }
        named.into_iter().filter(|(_, count)| *count > self.committee.faulty()).map(|(base, _)| base).max()
    }

    /// The next document's content. `base` is the document that [`Agreed::base`] names.
    ///
    /// # Errors
    /// [`TallyError`].
    pub fn view(&self, base: Option<&Document>) -> Result<View, TallyError> {
        match (self.base(), base) {
            (None, _) => {}
            (Some(named), Some(base)) if named.digest == base.digest() => {}
            (Some(named), _) => return Err(TallyError::Base(named.epoch)),
        }
        let base = self.base().and(base);
        let liars = self.liars(base);
        let votes: Vec<&Vote> =
            self.votes.iter().filter(|(author, _)| !liars.contains(author)).map(|(_, vote)| &**vote).collect();
        let needed = self.committee.threshold();
        if votes.len() < needed {
            return Err(TallyError::Votes { found: votes.len(), needed });
        }
        let params = self.params(&votes, base.map(|base| &base.params))?;
        let (shared_random, withheld) = self.shared_random(base, &liars);
        let nodes = self.nodes(&votes, base);
        let layout = Layout::new(&nodes, base.map(|base| base.view()), self.epoch, &shared_random);
        let placements = self.placements(&votes, base, &params, &nodes);
        let (valid_after, after) = (self.schedule.start(self.epoch), Epoch(self.epoch.0.saturating_add(1)));
        let relays = |ids: &mut dyn Iterator<Item = &NodeId>| -> Vec<Relay> {
            ids.filter_map(|id| nodes.get(id)).filter_map(relay).collect()
        };
        let of_role = |role: Role| {
            let kept = nodes.values().filter(|node| node.role == role && !layout.left_out.contains(&node.id));
            kept.map(|node| &node.id).collect::<Vec<_>>()
        };
        let mut fills: Vec<u8> =
            of_role(Role::Mailbox).into_iter().filter_map(|id| nodes.get(id)).map(|node| node.fill).collect();
        let listed = nodes.values().filter(|node| !layout.left_out.contains(&node.id));
        let measured = reliability::medians(listed);
        let mut view = View {
            network: self.network,
            epoch: self.epoch,
            valid_after,
            valid_until: self.schedule.start(after) + self.schedule.epoch().saturating_mul(params.document_life),
            put_effort: effort::put_effort(params.put_effort, &mut fills),
            params,
            shared_random,
            layers: layout.layers.iter().map(|layer| relays(&mut layer.iter())).collect(),
            entries: relays(&mut of_role(Role::Entry).into_iter()),
            mailboxes: relays(&mut of_role(Role::Mailbox).into_iter()),
            placements,
            memory: Memory { withheld, equivocators: liars.into_iter().collect(), absent: layout.absent },
        };
        let few = TallyError::TooFew {
            mixes: view.layers.iter().map(Vec::len).sum(),
            entries: view.entries.len(),
            mailboxes: view.mailboxes.len(),
        };
        reliability::apply(&mut view, &reliability::known(base.map(|base| base.view())), &measured);
        view.check().map_err(|_| few)?;
        Ok(view)
    }

    /// Descriptors that a majority of the votes hold byte for byte, and that are for this epoch.
    fn nodes(&self, votes: &[&Vote], base: Option<&Document>) -> BTreeMap<NodeId, Descriptor> {
        let mut held: BTreeMap<(NodeId, &[u8]), usize> = BTreeMap::new();
        for (id, bytes) in votes.iter().flat_map(|vote| &vote.descriptors) {
            *held.entry((*id, bytes)).or_default() += 1;
        }
        let by_majority = held.into_iter().filter(|(_, count)| count * 2 > votes.len());
        let opened = by_majority.filter_map(|((id, bytes), _)| {
            let descriptor = Descriptor::verify(bytes).ok()?;
            let ours = descriptor.id == id && descriptor.epoch == self.epoch && descriptor.sphinx_keys.len() > 1;
            ours.then_some((id, descriptor))
        });
        let mut nodes: BTreeMap<NodeId, Descriptor> = opened.collect();
        // Two nodes with one link key could not be told apart. Whose it was before stays, for keys are no secret and a node may
        // name another's; of newcomers, the first by id.
        let had = |node: &&Descriptor| {
            let before = base.and_then(|base| base.relay_by_link(&node.link_key));
            before.is_some_and(|(_, relay)| relay.id == node.id)
        };
        let mut owners: BTreeMap<LinkKey, NodeId> =
            nodes.values().filter(had).map(|node| (node.link_key, node.id)).collect();
        nodes.retain(|id, node| owners.entry(node.link_key).or_insert(*id) == id);
        nodes.into_iter().take(RELAYS_MAX).collect()
    }

    /// Each parameter by itself: what a majority of the votes names, else what it was.
    fn params(&self, votes: &[&Vote], before: Option<&Params>) -> Result<Params, TallyError> {
        let lists: Vec<_> = votes.iter().map(|vote| vote.params.values()).collect();
        let old = before.map(Params::values);
        let mut chosen = Params::standard().values();
        for (at, (name, value)) in chosen.iter_mut().enumerate() {
            let mut named: BTreeMap<u64, usize> = BTreeMap::new();
            for value in lists.iter().filter_map(|list| list.get(at)).map(|(_, value)| *value) {
                *named.entry(value).or_default() += 1;
            }
            let majority = named.into_iter().find(|(_, count)| count * 2 > votes.len()).map(|(value, _)| value);
            let fixed = FIXED.contains(name) && before.is_some();
            let majority = majority.filter(|_| !fixed);
            let kept = || old.as_ref().and_then(|old| old.get(at)).map(|(_, value)| *value);
            *value = majority.or_else(kept).ok_or(TallyError::Parameter(name))?;
        }
        let params = Params::from_values(&chosen);
        let params = params.map_err(|error| TallyError::Parameters(error.to_string()));
        match (params, before) {
            // Half of a change that only works as a whole is no change.
            (Err(_), Some(before)) => Ok(before.clone()),
            (params, _) => params,
        }
        .and_then(|params| {
            let same = params.epoch == self.schedule.epoch();
            if same { Ok(params) } else { Err(TallyError::Parameter("epoch: it must be the network file's")) }
        })
    }

    /// The shared random value, and who is left out of the next ones for hiding what they had committed to.
    fn shared_random(
        &self,
        base: Option<&Document>,
        liars: &BTreeSet<AuthorityId>,
    ) -> ([u8; KEY], Vec<(AuthorityId, Epoch)>) {
        let before = base.map_or([0; HASH], |base| base.shared_random);
        let serving: BTreeMap<AuthorityId, Epoch> = base
            .into_iter()
            .flat_map(|base| base.memory.withheld.iter().copied())
            .filter(|(author, until)| *until > self.epoch && self.committee.contains(author))
            .collect();
        let mut withheld = serving.clone();
        let mut values = Vec::new();
        for (author, vote) in self.votes.iter().filter(|(author, _)| !liars.contains(author)) {
            let opens =
                |value: &&[u8; KEY]| commitment(self.network, self.epoch, author, &value[..]) == vote.commitment;
            match self.reveals.get(author).filter(opens) {
                Some(_) if serving.contains_key(author) => {}
                Some(value) => values.push([&author.as_bytes()[..], value].concat()),
                None => {
                    withheld.insert(*author, Epoch(self.epoch.0.saturating_add(WITHHELD_EPOCHS)));
                }
            }
        }
        let epoch = self.epoch.0.to_be_bytes();
        let mut parts: Vec<&[u8]> = vec![self.network.as_bytes(), &epoch, &before];
        parts.extend(values.iter().map(Vec::as_slice));
        (hash(label::SHARED_RANDOM, &parts), withheld.into_iter().collect())
    }

    /// The placement set in force and, if a majority wants another one, that one with its notice.
    fn placements(
        &self,
        votes: &[&Vote],
        base: Option<&Document>,
        params: &Params,
        nodes: &BTreeMap<NodeId, Descriptor>,
    ) -> Vec<Placement> {
        let mut named: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in votes.iter().flat_map(|vote| &vote.placement) {
            *named.entry(*id).or_default() += 1;
        }
        let by_majority = named.into_iter().filter(|(_, count)| count * 2 > votes.len());
        let wanted: Vec<NodeId> = by_majority.map(|(id, _)| id).take(RELAYS_MAX).collect();
        let mut known = base.map(|base| base.placements.clone()).unwrap_or_default();
        if known.len() > 1 && known.last().is_some_and(|announced| announced.from <= self.epoch) {
            known.remove(0);
        }
        // Notice lets clients empty mailboxes that go. When all of them are gone there is nothing to wait for, and waiting would
        // be for ever: a document needs a mailbox that is up.
        let up = |id: &NodeId| nodes.get(id).is_some_and(|node| node.role == Role::Mailbox);
        let Some(in_force) = known.first().filter(|known| known.mailboxes.iter().any(up)).cloned() else {
            return vec![Placement { from: self.epoch, mailboxes: wanted }];
        };
        let announced = known.get(1).filter(|announced| announced.mailboxes == wanted).cloned();
        if wanted == in_force.mailboxes || wanted.is_empty() {
            return vec![in_force];
        }
        let from = Epoch(self.epoch.0.saturating_add(u64::from(params.placement_notice)));
        vec![in_force, announced.unwrap_or(Placement { from, mailboxes: wanted })]
    }
}

fn relay(node: &Descriptor) -> Option<Relay> {
    let mut keys = node.sphinx_keys.iter();
    Some(Relay {
        id: node.id,
        addresses: node.addresses.clone(),
        onion: node.onion.clone(),
        link_key: node.link_key,
        sphinx_key: *keys.next()?,
        next_sphinx_key: *keys.next()?,
        weight: reliability::WEIGHT,
        reliability: reliability::GOOD,
        family: node.family.clone(),
    })
}
