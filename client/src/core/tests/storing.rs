//! When a box counts as stored, whom it is brought to, and whom it is asked of.

use super::{
    world::{Nature, World, mailbox_secret},
    *,
};
use crate::store::messages::State;
use veilpost_packet::{
    command::{Answer as Told, HolderSignature},
    time::Day,
};

/// Alice has queued a message: gives it, its box, and its holders.
fn queued(world: &mut World) -> (messages::MessageId, Outgoing, Vec<NodeId>) {
    let id = world.write(0, "Bob", "kept?");
    let out = world.people[0].outbox.values().find(|out| out.message == Some(id)).unwrap().clone();
    let holders = world.holders_of(&out.sealed.id);
    (id, out, holders)
}

fn signed(world: &World, out: &Outgoing, mailbox: &NodeId) -> HolderSignature {
    let secret = (0..5).map(mailbox_secret).find(|secret| secret.node_id() == *mailbox).unwrap();
    let content = out.sealed.content_hash(&world.document.network);
    HolderSignature::sign(&secret, &world.document.network, &out.sealed.id, &content, out.sealed.expiry)
}

fn answer(world: &mut World, out: &Outgoing, mailbox: NodeId, signatures: [HolderSignature; 2]) {
    let hash = world.document.hash();
    world.people[0].handle_put_answer(NOW, out.id, &hash, mailbox, Told::Stored(signatures)).unwrap();
}

#[test]
fn a_box_is_stored_when_both_of_its_holders_have_signed() {
    let mut world = World::befriended(2, 3);
    let (id, out, holders) = queued(&mut world);
    let both = [signed(&world, &out, &holders[0]), signed(&world, &out, &holders[1])];
    answer(&mut world, &out, holders[1], both);
    assert_eq!(world.state(0, id), State::Stored);
    let receipt = outbox::receipt(world.people[0].store.connection(), out.id).unwrap().unwrap();
    let evidence = crate::core::evidence::Evidence::from_bytes(&receipt).unwrap();
    assert_eq!((evidence.expiry, evidence.signatures.as_slice()), (out.sealed.expiry, &both[..]));
}

#[test]
fn what_fewer_than_two_listed_holders_have_signed_for_is_not_stored() {
    let mut world = World::befriended(2, 3);
    let (id, out, holders) = queued(&mut world);
    let (one, other) = (signed(&world, &out, &holders[0]), signed(&world, &out, &holders[1]));
    let stranger = mailbox_secret(4);
    let content = out.sealed.content_hash(&world.document.network);
    let network = world.document.network;
    let unlisted = HolderSignature::sign(&stranger, &network, &out.sealed.id, &content, out.sealed.expiry);
    let day = Day(out.sealed.expiry.0 + 1);
    let longer = HolderSignature::sign(&mailbox_secret(0), &network, &out.sealed.id, &content, day);
    let mut damaged = other;
    damaged.signature[5] ^= 1;
    for second in [HolderSignature::NONE, one, unlisted, longer, damaged] {
        answer(&mut world, &out, holders[0], [one, second]);
        assert_eq!(world.state(0, id), State::Queued, "{second:?}");
    }
    // Both have signed, but neither is who answers.
    let third = *world.mailboxes.keys().find(|id| !holders.contains(id)).unwrap();
    answer(&mut world, &out, third, [one, other]);
    assert_eq!(world.state(0, id), State::Queued);
    assert!(!world.people[0].outbox[&out.id].retry.stored);
}

#[test]
fn with_one_durable_copy_the_signature_of_who_answers_is_enough() {
    let mut world = World::befriended(1, 3);
    let (id, out, holders) = queued(&mut world);
    let one = signed(&world, &out, &holders[0]);
    answer(&mut world, &out, holders[0], [one, HolderSignature::NONE]);
    assert_eq!(world.state(0, id), State::Stored);
}

#[test]
fn sendings_alternate_between_the_holders_until_both_have_signed() {
    let mut world = World::befriended(2, 3);
    let (id, out, holders) = queued(&mut world);
    world.mailboxes.get_mut(&holders[0]).unwrap().nature = Nature::Down;
    world.steps(600);
    assert_eq!(world.state(0, id), State::Queued, "one disk is not two");
    let brought = |world: &World, at: usize| {
        world.mailboxes[&holders[at]].brought.iter().filter(|(sealed, _)| sealed.id == out.sealed.id).count()
    };
    assert!(brought(&world, 1) >= 2, "{}", brought(&world, 1));
    let sends = world.people[0].outbox[&out.id].retry.sends as usize;
    assert!(sends.abs_diff(2 * brought(&world, 1)) <= 1, "every second one went to the one that is up");
    world.mailboxes.get_mut(&holders[0]).unwrap().nature = Nature::Honest;
    for _ in 0..20 {
        world.steps(200);
        if world.state(0, id) == State::Delivered {
            return;
        }
    }
    panic!("not delivered in nine hours");
}

#[test]
fn a_message_comes_through_while_either_holder_answers_no_gets() {
    for silent in 0..2 {
        let mut world = World::befriended(2, 2);
        let (id, _, holders) = queued(&mut world);
        world.mailboxes.get_mut(&holders[silent]).unwrap().nature = Nature::Silent;
        world.steps(900);
        assert_eq!(world.read(1).last().map(String::as_str), Some("kept?"), "holder {silent}");
        assert!(matches!(world.state(0, id), State::Stored | State::Delivered));
    }
}

#[test]
fn a_box_is_asked_for_at_both_holders_in_turn() {
    let mut world = World::befriended(2, 2);
    let (_, out, _) = queued(&mut world);
    for mailbox in world.mailboxes.values_mut() {
        mailbox.nature = Nature::Honest;
    }
    world.online[1] = false;
    world.steps(10);
    for mailbox in world.mailboxes.values_mut() {
        mailbox.nature = Nature::Silent;
    }
    (world.online[0], world.online[1]) = (false, true);
    world.steps(1_000);
    let asked: Vec<usize> = world
        .mailboxes
        .values()
        .map(|mailbox| mailbox.asked.iter().filter(|(id, _)| *id == out.sealed.id).count())
        .collect();
    assert!(asked.iter().all(|count| *count >= 2) && asked[0].abs_diff(asked[1]) <= 1, "{asked:?}");
}

#[test]
fn in_an_outage_decoys_pile_up_to_their_bound_and_repeats_get_their_turn() {
    let mut world = World::befriended(2, 2);
    for mailbox in world.mailboxes.values_mut() {
        mailbox.nature = Nature::Down;
    }
    world.online[1] = false;
    world.steps(1_200);
    let decoys = world.people[0].outbox.values().filter(|out| out.kind == StreamKind::Decoys).count();
    assert!((120..=129).contains(&decoys), "{decoys}");
    let next = world.people[0].outbox.values().filter_map(|out| out.retry.next);
    let late = next.map(|next| world.now.since(next).as_secs()).max();
    assert!(late < Some(900), "upkeep ticks keep up: {late:?}");
}
