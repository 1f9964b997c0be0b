//! A relay's own loops, through the keys of a small network: what leaves, what is taken back, and what is not.

use super::*;
use crate::testing::sphinx;
use veilpost_packet::{command::Command, geometry::PLAINTEXT, sphinx::Packet};

/// Who unwraps packets for this id.
fn seed_of(id: &NodeId) -> u8 {
    [1, 2, 3, 4, 5, 11, 12, 13, 14, 15].into_iter().find(|seed| super::id(*seed) == *id).unwrap()
}

/// The first loop that leaves, and when.
fn first_loop(engine: &mut Engine) -> (Timestamp, Forward) {
    engine.poll_evidence(NOW);
    while let Some(job) = engine.poll_loop_job(NOW) {
        engine.handle_loop_built(job.run());
    }
    let at = engine.next_wake().unwrap();
    (at, engine.poll_loop(at).unwrap())
}

/// Takes a packet from node to node until its route ends; returns the nodes, and what is delivered to the last.
fn walk(mut to: NodeId, mut packet: Packet) -> (Vec<u8>, Unwrapped) {
    let mut nodes = Vec::new();
    loop {
        nodes.push(seed_of(&to));
        match unwrap(&sphinx(seed_of(&to)), &packet).unwrap() {
            Unwrapped::Forward { next, packet: inner, .. } => (to, packet) = (NodeId(next), inner),
            delivered => return (nodes, delivered),
        }
    }
}

/// A loop's whole way: to the mailbox, its answer, and back. Returns the layers there and back, who brings it, and it.
fn around(engine: &mut Engine) -> (Timestamp, Vec<u8>, Vec<u8>, Unwrapped) {
    let (at, departure) = first_loop(engine);
    assert_eq!(departure.flags, Flags::for_epoch(EPOCH));
    let (there, delivered) = walk(departure.to, departure.packet);
    let Unwrapped::Deliver { payload, surb: None, .. } = delivered else { panic!("a command") };
    let (surb, command) = Command::decode(&payload.open_forward().unwrap()).unwrap();
    assert!(matches!(command, Command::Loop));
    let first = NodeId(surb.first_hop());
    let (back, returned) = walk(first, surb.reply(&[7; PLAINTEXT]).unwrap());
    (at, there, back, returned)
}

/// Who hands the answer to its maker.
fn last_hop(there: &[u8], back: &[u8]) -> Origin {
    node(back.iter().rev().nth(1).or(there.last()).copied().unwrap())
}

#[test]
fn a_loop_takes_halves_of_the_ways_of_commands_and_answers() {
    let layers = |seeds: &[u8]| seeds.iter().map(|seed| seed % 10).collect::<Vec<_>>();
    for (own, there, back) in
        [(1, &[2, 3, 5][..], &[1][..]), (2, &[3, 5], &[1, 2]), (3, &[5], &[1, 2, 3]), (4, &[1, 2, 3, 5], &[1, 2, 3, 4])]
    {
        let (_, went, came, _) = around(&mut engine(own));
        assert_eq!((layers(&went), layers(&came)), (there.to_vec(), back.to_vec()), "{own}");
        assert_eq!(came.last(), Some(&own));
    }
}

#[test]
fn the_answer_to_an_own_loop_is_taken_once_from_where_it_has_to_come_and_no_other() {
    for own in [1, 2, 3, 4] {
        let mut engine = engine(own);
        let (at, there, back, returned) = around(&mut engine);
        let right = last_hop(&there, &back);
        assert_eq!(open(&mut engine, 9).is_ok(), own == 4);
        let others = [1, 2, 3, 4, 5].map(node).into_iter().chain([Origin::Session(session(9))]);
        let place_of = |origin: &Origin| match origin {
            Origin::Node { place, .. } => Some(*place),
            Origin::Session(_) => None,
        };
        for other in others.filter(|other| place_of(other) != place_of(&right)) {
            let refused = engine.handle_unwrapped(at, EPOCH, other, returned.clone());
            assert_eq!(refused, Err(DropReason::From), "{own} from {other:?}");
        }
        let mut stranger = super::engine(own);
        assert_eq!(stranger.handle_unwrapped(at, EPOCH, right, returned.clone()), Err(DropReason::LastHop));
        assert_eq!(engine.handle_unwrapped(at, EPOCH, right, returned.clone()), Ok(()));
        assert_eq!(engine.take_new_tags().len(), 1, "it is remembered like any packet");
        assert_eq!(engine.handle_unwrapped(at, EPOCH, right, returned), Err(DropReason::LastHop));
        let counts = engine.cover().counts();
        assert_eq!((counts.sent, counts.returned, counts.lost), (1, 1, 0));
    }
}

#[test]
fn a_loop_whose_answer_was_changed_counts_as_lost_and_is_told() {
    let mut engine = engine(4);
    let (at, departure) = first_loop(&mut engine);
    let (_, delivered) = walk(departure.to, departure.packet);
    let Unwrapped::Deliver { payload, .. } = delivered else { panic!("a command") };
    let (surb, _) = Command::decode(&payload.open_forward().unwrap()).unwrap();
    let first = NodeId(surb.first_hop());
    let mut bytes = surb.reply(&[7; 10]).unwrap().as_bytes().to_vec();
    bytes[PACKET - 1] ^= 1;
    let (back, returned) = walk(first, Packet::from_bytes(&bytes).unwrap());
    let from = last_hop(&[], &back);
    assert_eq!(engine.handle_unwrapped(at, EPOCH, from, returned), Err(DropReason::Malformed));
    assert_eq!((engine.cover().counts().lost, engine.cover().mishaps().changed), (1, 1));
}

#[test]
fn a_loop_that_stays_away_is_lost_and_its_answer_comes_too_late() {
    let mut engine = engine(2);
    let (at, there, back, returned) = around(&mut engine);
    let late = at + document(&engine).params.epoch / 2;
    let refused = engine.handle_unwrapped(late, EPOCH, last_hop(&there, &back), returned);
    assert_eq!(refused, Err(DropReason::LastHop));
    assert_eq!(engine.cover().counts().lost, 1);
}

#[test]
fn loops_leave_at_the_documents_rate_whatever_comes_through_and_one_is_always_ready() {
    let times = |busy: bool| {
        let mut engine = engine(2);
        let mut times = Vec::new();
        let mut now = NOW;
        while times.len() < 40 {
            if busy {
                let _any = engine.handle_unwrapped(now, EPOCH, node(1), to(times.len() as u32, 3));
                let _written = engine.take_new_tags();
            }
            while let Some(job) = engine.poll_loop_job(now) {
                engine.handle_loop_built(job.run());
            }
            let _looked = engine.poll_evidence(now);
            while engine.poll_forward(now).is_some() {}
            while engine.poll_loop(now).is_some() {
                times.push(now);
            }
            now = engine.next_wake().unwrap().max(now);
        }
        assert_eq!(engine.cover().mishaps().unready, 0);
        times
    };
    let (idle, busy) = (times(false), times(true));
    assert_eq!(idle, busy);
    // A mean of one second: 40 gaps last 40 s, with a standard deviation of 6.3.
    let all = idle.last().unwrap().since(NOW).as_secs_f64();
    assert!((15.0..70.0).contains(&all), "{all}");
}

#[test]
fn a_node_that_no_document_in_force_lists_sends_no_loops() {
    let mut idle = Engine::idle(id(2), Limits::default(), seeded([1; 32]));
    assert!(idle.poll_loop_job(NOW).is_none() && idle.poll_loop(NOW).is_none() && idle.next_wake().is_none());
    let mut closed = engine(2);
    first_loop(&mut closed);
    closed.close_epoch(EPOCH);
    assert!(closed.poll_loop_job(NOW).is_none() && closed.poll_loop(NOW + SECOND * 60).is_none());
}
