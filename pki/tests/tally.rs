//! From votes to a document: what a majority holds counts, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{authorities, council::descriptor, ids, set};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use veilpost_packet::{
    ids::{AuthorityId, LinkKey, NodeId},
    primitives::SigningSecret,
    time::Epoch,
};
use veilpost_pki::{
    Descriptor, Document, Params, Role, Schedule, UnverifiedDocument, View,
    document::Placement,
    signed::sign_view,
    statement::{EquivocationProof, Kind, Statement},
    tally::{Agreed, TallyError, WITHHELD_EPOCHS},
    vote::{Base, Vote, commitment},
};

const SCHEDULE: Schedule = Schedule { genesis: 1_000_000, epoch_ms: 3_600_000, phase_ms: 225_000 };

/// A round of four authorities of which one may be hostile, and what each holds.
#[derive(Clone)]
struct Ballots {
    epoch: Epoch,
    votes: Vec<Vote>,
    /// Authorities that reveal.
    revealing: Vec<bool>,
    equivocators: BTreeSet<AuthorityId>,
}

fn key(n: u8) -> SigningSecret {
    SigningSecret::from_seed(&[n; 32])
}

fn value(n: usize) -> [u8; 32] {
    [n as u8 + 50; 32]
}

fn nodes() -> Vec<(SigningSecret, Role)> {
    let roles = [Role::Mix, Role::Mix, Role::Mix, Role::Entry, Role::Mailbox, Role::Mailbox];
    (1..).map(key).zip(roles).collect()
}

fn mailbox(at: usize) -> NodeId {
    nodes()[4 + at].0.node_id()
}

fn sorted(mut ids: Vec<NodeId>) -> Vec<NodeId> {
    ids.sort_unstable();
    ids
}

fn put(vote: &mut Vote, bytes: &[u8]) {
    let id = Descriptor::verify(bytes).unwrap().id;
    vote.descriptors.retain(|(known, _)| *known != id);
    vote.descriptors.push((id, bytes.into()));
    vote.descriptors.sort();
}

fn drop_node(vote: &mut Vote, id: &NodeId) {
    vote.descriptors.retain(|(known, _)| known != id);
}

impl Ballots {
    /// All of one mind.
    fn new(epoch: u64, base: Option<&Document>) -> Self {
        let epoch = Epoch(epoch);
        let vote = |(at, author): (usize, &AuthorityId)| {
            let mut vote = Vote {
                base: base.map(|base| Base { epoch: base.epoch, digest: base.digest() }),
                params: Params::standard(),
                placement: sorted(vec![mailbox(0), mailbox(1)]),
                descriptors: Vec::new(),
                commitment: commitment(set().network(), epoch, author, &value(at)),
                proofs: Vec::new(),
            };
            nodes().iter().for_each(|(secret, role)| put(&mut vote, &descriptor(secret, *role, epoch)));
            vote
        };
        let authors = ids(&authorities(4));
        let votes = authors.iter().enumerate().map(vote).collect();
        Self { epoch, votes, revealing: vec![true; 4], equivocators: BTreeSet::new() }
    }

    /// Changes the votes of these authorities.
    fn with(mut self, authorities: std::ops::Range<usize>, change: impl Fn(&mut Vote)) -> Self {
        self.votes[authorities].iter_mut().for_each(change);
        self
    }

    fn view(&self, base: Option<&Document>) -> Result<View, TallyError> {
        let authors = ids(&authorities(4));
        let votes = authors.iter().copied().zip(self.votes.iter().cloned().map(Arc::new)).collect();
        let revealing = (0..4).filter(|at| self.revealing[*at]);
        let reveals: BTreeMap<_, _> = revealing.map(|at| (authors[at], value(at))).collect();
        let (set, equivocators) = (set(), &self.equivocators);
        let committee = set.newest();
        let (network, epoch, schedule) = (set.network(), self.epoch, &SCHEDULE);
        Agreed { network, epoch, schedule, committee, votes: &votes, reveals: &reveals, equivocators }.view(base)
    }
}

/// As everyone else reads it.
fn document(view: &View) -> Document {
    let bytes = sign_view(view, &authorities(4));
    UnverifiedDocument::from_bytes(&bytes).unwrap().verify_timelessly(&set()).unwrap()
}

fn first() -> Document {
    document(&Ballots::new(1, None).view(None).unwrap())
}

fn holds(view: &View, id: &NodeId) -> bool {
    view.relays().any(|(_, relay)| relay.id == *id)
}

#[test]
fn votes_of_one_mind_make_a_document_that_everyone_reads() {
    let view = Ballots::new(1, None).view(None).unwrap();
    assert_eq!(document(&view).view(), &view);
    assert_eq!(view.relays().count(), 6);
    assert_eq!(view.placements, [Placement { from: Epoch(1), mailboxes: sorted(vec![mailbox(0), mailbox(1)]) }]);
    assert_eq!((view.valid_after, view.params.clone()), (SCHEDULE.start(Epoch(1)), Params::standard()));
}

#[test]
fn a_node_is_in_as_a_majority_holds_it_or_not_at_all() {
    let (secret, role) = &nodes()[4];
    let id = secret.node_id();
    let honest = Descriptor::verify(&descriptor(secret, *role, Epoch(1))).unwrap();
    let other = Descriptor { software: "another".into(), link_key: LinkKey([77; 32]), ..honest.clone() }.sign(secret);
    let link_key = |view: &View| view.mailboxes.iter().find(|mailbox| mailbox.id == id).map(|mailbox| mailbox.link_key);
    let told = |authorities| Ballots::new(1, None).with(authorities, |vote| put(vote, &other)).view(None).unwrap();
    assert_eq!(link_key(&told(0..1)), Some(honest.link_key), "three against one");
    assert_eq!(link_key(&told(0..2)), None, "two against two: neither");
    assert_eq!(link_key(&told(0..3)), Some(LinkKey([77; 32])));
    let missing =
        |authorities| Ballots::new(1, None).with(authorities, |vote| drop_node(vote, &id)).view(None).unwrap();
    assert!(holds(&missing(0..1), &id) && !holds(&missing(0..2), &id), "half is no majority");
}

#[test]
fn descriptors_that_no_node_signed_or_that_are_for_another_epoch_are_left_out_even_if_all_hold_them() {
    let (secret, role) = &nodes()[4];
    let id = secret.node_id();
    let old = descriptor(secret, *role, Epoch(2));
    let mut forged = descriptor(secret, *role, Epoch(1));
    forged[60] ^= 1;
    let good = Descriptor::verify(&descriptor(secret, *role, Epoch(1))).unwrap();
    let one_key = Descriptor { sphinx_keys: good.sphinx_keys[..1].to_vec(), ..good }.sign(secret);
    let others = descriptor(&nodes()[5].0, *role, Epoch(1));
    for bad in [old, forged, one_key, others, Vec::new()] {
        let bad: Arc<[u8]> = bad.into();
        let replace = |vote: &mut Vote| {
            vote.descriptors.iter_mut().filter(|(known, _)| *known == id).for_each(|(_, bytes)| *bytes = bad.clone());
        };
        assert!(!holds(&Ballots::new(1, None).with(0..4, replace).view(None).unwrap(), &id));
    }
}

#[test]
fn of_two_nodes_with_one_link_key_the_one_that_had_it_before_stays() {
    let base = first();
    for (victim, _) in nodes() {
        let victim = victim.node_id();
        let link_key = base.relay(&victim).unwrap().1.link_key;
        for n in 20..26 {
            let thief = key(n);
            let copy = |epoch| {
                let own = Descriptor::verify(&descriptor(&thief, Role::Entry, epoch)).unwrap();
                Descriptor { link_key, ..own }.sign(&thief)
            };
            let view = Ballots::new(2, Some(&base)).with(0..4, |vote| put(vote, &copy(Epoch(2)))).view(Some(&base));
            let view = view.unwrap();
            assert!(holds(&view, &victim) && !holds(&view, &thief.node_id()), "{n}");
            // Both new: the first by id, so that all authorities choose alike.
            let view = Ballots::new(1, None).with(0..4, |vote| put(vote, &copy(Epoch(1)))).view(None);
            if let Ok(view) = view {
                assert_eq!(holds(&view, &victim), victim < thief.node_id());
                assert_ne!(holds(&view, &victim), holds(&view, &thief.node_id()));
            }
        }
    }
}

#[test]
fn too_few_nodes_make_no_document() {
    let entry = nodes()[3].0.node_id();
    let few = Ballots::new(1, None).with(0..4, |vote| drop_node(vote, &entry)).view(None).unwrap_err();
    assert_eq!(few, TallyError::TooFew { mixes: 3, entries: 0, mailboxes: 2 });
    let none = Ballots::new(1, None).with(0..4, |vote| vote.descriptors.clear()).view(None).unwrap_err();
    assert_eq!(none, TallyError::TooFew { mixes: 0, entries: 0, mailboxes: 0 });
}

#[test]
fn a_parameter_that_no_majority_names_stays_what_it_was() {
    let base = first();
    let days = |authorities, base: Option<&Document>| {
        let epoch = base.map_or(1, |base| base.epoch.0 + 1);
        Ballots::new(epoch, base).with(authorities, |vote| vote.params.box_days = 20).view(base)
    };
    assert_eq!(days(0..2, Some(&base)).unwrap().params.box_days, 15);
    assert_eq!(days(0..3, Some(&base)).unwrap().params.box_days, 20);
    assert_eq!(days(0..2, None).unwrap_err(), TallyError::Parameter("box_days"), "before the first document");
}

#[test]
fn parameters_change_one_by_one() {
    let base = first();
    let view = Ballots::new(2, Some(&base))
        .with(0..3, |vote| vote.params.box_days = 20)
        .with(1..4, |vote| vote.params.put_slot = 7)
        .with(2..4, |vote| vote.params.document_life = 5)
        .view(Some(&base));
    let expected = Params { box_days: 20, put_slot: 7, ..Params::standard() };
    assert_eq!(view.unwrap().params, expected);
}

#[test]
fn the_effort_of_a_put_follows_the_fill_up_and_down() {
    let filled = |epoch, base: Option<&Document>, fills: [u8; 2]| {
        let filled = |vote: &mut Vote| {
            for (at, fill) in fills.into_iter().enumerate() {
                let secret = &nodes()[4 + at].0;
                let own = Descriptor::verify(&descriptor(secret, Role::Mailbox, Epoch(epoch))).unwrap();
                put(vote, &Descriptor { fill, ..own }.sign(secret));
            }
        };
        document(&Ballots::new(epoch, base).with(0..4, filled).view(base).unwrap())
    };
    let full = filled(1, None, [90, 70]);
    assert_eq!((full.put_effort, full.params.put_effort), (2, 0));
    assert_eq!(filled(2, Some(&full), [90, 20]).put_effort, 0);
    let base = filled(2, Some(&full), [90, 85]);
    let view = Ballots::new(3, Some(&base)).with(0..3, |vote| vote.params.put_effort = 1).view(Some(&base)).unwrap();
    assert_eq!((view.put_effort, view.params.put_effort), (1, 1), "empty again: the parameter is left");
}

#[test]
fn half_of_a_change_that_only_works_as_a_whole_is_no_change() {
    let base = first();
    // More durable copies than copies: a majority for one of the two alone.
    let both = |vote: &mut Vote| (vote.params.copies, vote.params.durable_copies) = (2, 2);
    let half = |vote: &mut Vote| (vote.params.copies, vote.params.durable_copies) = (3, 2);
    let split = Ballots::new(2, Some(&base)).with(0..2, both).with(2..4, half).view(Some(&base)).unwrap();
    assert_eq!(split.params, Params::standard(), "durable_copies alone had a majority");
    let whole = Ballots::new(2, Some(&base)).with(0..3, both).view(Some(&base)).unwrap();
    assert_eq!((whole.params.copies, whole.params.durable_copies), (2, 2));
    let split = Ballots::new(1, None).with(0..2, both).with(2..4, half).view(None).unwrap_err();
    assert_eq!(split, TallyError::Parameter("copies"));
}

#[test]
fn the_epochs_length_is_the_network_files() {
    let base = first();
    let view = Ballots::new(2, Some(&base))
        .with(0..4, |vote| vote.params.epoch = Duration::from_secs(7_200))
        .view(Some(&base));
    assert!(matches!(view, Err(TallyError::Parameter(name)) if name.starts_with("epoch")));
}

#[test]
fn another_placement_set_comes_into_force_after_its_notice_and_unless_minds_change() {
    let notice = u64::from(Params::standard().placement_notice);
    let only = |vote: &mut Vote| vote.placement = vec![mailbox(1)];
    let sets = |view: &View| -> Vec<(u64, usize)> {
        view.placements.iter().map(|it| (it.from.0, it.mailboxes.len())).collect()
    };
    let mut base = first();
    let half = Ballots::new(2, Some(&base)).with(0..2, |vote| vote.placement.clear()).view(Some(&base)).unwrap();
    assert_eq!(sets(&half), [(1, 2)], "half is no majority");
    for epoch in 2..2 + notice {
        let view = Ballots::new(epoch, Some(&base)).with(0..3, only).view(Some(&base)).unwrap();
        assert_eq!(sets(&view), [(1, 2), (2 + notice, 1)], "epoch {epoch}");
        base = document(&view);
    }
    let taken_back = Ballots::new(2 + notice - 1, Some(&base)).view(Some(&base)).unwrap();
    assert_eq!(sets(&taken_back), [(1, 2)]);
    let other = |vote: &mut Vote| vote.placement = vec![mailbox(0)];
    let another = Ballots::new(2 + notice - 1, Some(&base)).with(0..4, other).view(Some(&base)).unwrap();
    assert_eq!(sets(&another), [(1, 2), (2 + notice - 1 + notice, 1)], "a third set has its own notice");
    let view = Ballots::new(2 + notice, Some(&base)).with(0..3, only).view(Some(&base)).unwrap();
    assert_eq!(sets(&view), [(2 + notice, 1)]);
    // Rounds that failed in between change nothing: it is in force as announced.
    let view = Ballots::new(9 + notice, Some(&base)).with(0..3, only).view(Some(&base)).unwrap();
    assert_eq!(sets(&view), [(2 + notice, 1)]);
}

#[test]
fn a_mailbox_that_is_down_keeps_its_place() {
    let base = first();
    let view = Ballots::new(2, Some(&base)).with(0..4, |vote| drop_node(vote, &mailbox(0))).view(Some(&base)).unwrap();
    assert!(!holds(&view, &mailbox(0)));
    assert_eq!(view.placements, base.placements);
}

#[test]
fn when_every_mailbox_of_the_placement_is_gone_the_next_set_needs_no_notice() {
    let base = first();
    let new = key(30);
    let gone = |vote: &mut Vote| {
        drop_node(vote, &mailbox(0));
        drop_node(vote, &mailbox(1));
        put(vote, &descriptor(&new, Role::Mailbox, Epoch(2)));
    };
    let replaced = |vote: &mut Vote| vote.placement = vec![new.node_id()];
    let view = Ballots::new(2, Some(&base)).with(0..4, gone).with(0..4, replaced).view(Some(&base)).unwrap();
    assert_eq!(view.placements, [Placement { from: Epoch(2), mailboxes: vec![new.node_id()] }]);
    document(&view);
    // While a majority wants the old ones, there is nothing to place boxes on.
    assert!(matches!(Ballots::new(2, Some(&base)).with(0..4, gone).view(Some(&base)), Err(TallyError::TooFew { .. })));
}

#[test]
fn the_base_is_the_newest_that_more_votes_name_than_can_be_hostile() {
    let old = first();
    let new = document(&Ballots::new(2, Some(&old)).view(Some(&old)).unwrap());
    let base = |document: &Document| Some(Base { epoch: document.epoch, digest: document.digest() });
    let invented = Some(Base { epoch: Epoch(2_000), digest: [9; 32] });
    let with = |bases: [Option<Base>; 4]| {
        let mut ballots = Ballots::new(3, None);
        ballots.votes.iter_mut().zip(bases).for_each(|(vote, base)| vote.base = base);
        ballots
    };
    let (o, n) = (base(&old), base(&new));
    for (bases, named) in [
        ([n, n, n, n], Some(&new)),
        ([o, o, n, n], Some(&new)),
        ([o, o, o, n], Some(&old)),
        ([invented, n, n, n], Some(&new)),
        ([invented, o, o, n], Some(&old)),
        ([None, None, None, invented], None),
    ] {
        assert!(with(bases).view(named).is_ok(), "{bases:?}");
        for wrong in [None, Some(&old), Some(&new)] {
            if let Some(named) = named
                && wrong.map(Document::digest) != Some(named.digest())
            {
                assert_eq!(with(bases).view(wrong).unwrap_err(), TallyError::Base(named.epoch), "{bases:?}");
            }
        }
    }
    // Nothing is built on what no honest one is sure to hold, even if it is here.
    let alone = with([n, None, None, None]).view(Some(&new)).unwrap();
    assert_eq!(alone, with([None; 4]).view(None).unwrap());
}

#[test]
fn liars_do_not_count_whether_caught_now_or_before_or_proved_by_a_vote() {
    let secret = &authorities(4)[3];
    let liar = secret.authority_id();
    let proof = |network| {
        let said = |n| Statement { network, epoch: Epoch(1), kind: Kind::Vote, author: liar, digest: [n; 32] };
        EquivocationProof::new(said(1).sign(secret), said(2).sign(secret)).unwrap()
    };
    let id = nodes()[5].0.node_id();
    // Two of three name the node once the liar does not count.
    let undecided =
        Ballots::new(1, None).with(0..1, |vote| drop_node(vote, &id)).with(3..4, |vote| drop_node(vote, &id));
    assert!(!holds(&undecided.view(None).unwrap(), &id));
    let caught = Ballots { equivocators: BTreeSet::from([liar]), ..undecided.clone() };
    let proved = undecided.clone().with(1..2, |vote| vote.proofs = vec![proof(set().network())]);
    for ballots in [caught, proved] {
        let view = ballots.view(None).unwrap();
        assert!(holds(&view, &id));
        assert_eq!(view.memory.equivocators, [liar]);
        let base = document(&view);
        let later = Ballots::new(2, Some(&base)).with(0..1, |vote| drop_node(vote, &id));
        let later = later.with(3..4, |vote| drop_node(vote, &id)).view(Some(&base)).unwrap();
        assert!(holds(&later, &id), "it is remembered");
        assert_eq!(later.memory.equivocators, [liar]);
    }
    let elsewhere = undecided.with(1..2, |vote| vote.proofs = vec![proof(veilpost_packet::ids::NetworkId([1; 32]))]);
    assert!(elsewhere.view(None).unwrap().memory.equivocators.is_empty(), "a lie in another network");
    let two = ids(&authorities(4))[2..].iter().copied().collect();
    let few = Ballots { equivocators: two, ..Ballots::new(1, None) }.view(None).unwrap_err();
    assert_eq!(few, TallyError::Votes { found: 2, needed: 3 });
}

#[test]
fn who_hides_its_value_is_left_out_of_the_random_value_for_its_time_and_its_vote_counts() {
    let mut base = first();
    let mut hiding = Ballots::new(2, Some(&base));
    hiding.revealing[2] = false;
    let view = hiding.view(Some(&base)).unwrap();
    let author = ids(&authorities(4))[2];
    let until = Epoch(2 + WITHHELD_EPOCHS);
    assert_eq!(view.memory.withheld, [(author, until)]);
    let all = Ballots::new(2, Some(&base)).view(Some(&base)).unwrap();
    assert_ne!(view.shared_random, all.shared_random);
    base = document(&view);
    for epoch in 3..until.0 {
        let with = Ballots::new(epoch, Some(&base)).view(Some(&base)).unwrap();
        assert_eq!(with.memory.withheld, [(author, until)], "revealing again does not shorten it");
        let other = Ballots::new(epoch, Some(&base)).with(2..3, |vote| vote.commitment = [0; 32]);
        let other = other.view(Some(&base)).unwrap();
        assert_eq!(with.shared_random, other.shared_random, "its value has no say");
        base = document(&with);
    }
    let back = Ballots::new(until.0, Some(&base)).view(Some(&base)).unwrap();
    assert!(back.memory.withheld.is_empty());
    let wrong = Ballots::new(2, None).with(1..2, |vote| vote.commitment = [0; 32]).view(None).unwrap();
    assert_eq!(wrong.memory.withheld[0].0, ids(&authorities(4))[1], "another value than it committed to is none");
}
