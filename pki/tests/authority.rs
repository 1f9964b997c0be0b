//! One authority alone, and what hostile ones could send it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{authorities, set};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use veilpost_packet::{
    ids::AuthorityId,
    random::seeded,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Params, Schedule,
    round::{Action, Authority, Ballot, Stored},
    schedule::Phase,
    statement::{Kind, SignedStatement, Statement},
    vote::{Vote, reveal_digest},
    wire::Message,
};

const SCHEDULE: Schedule = Schedule { genesis: 1_000_000, epoch_ms: 60_000, phase_ms: 1_000 };

fn during(phase: Phase) -> Timestamp {
    SCHEDULE.phase_start(Epoch(1), phase, 1) + Duration::from_millis(300)
}

fn id(at: usize) -> AuthorityId {
    authorities(4)[at].authority_id()
}

/// The first of four authorities, which has voted.
fn authority() -> Authority {
    let ballot = Ballot { params: Params { epoch: SCHEDULE.epoch(), ..Params::standard() }, admitted: BTreeMap::new() };
    let start = SCHEDULE.round_start(Epoch(1), 1);
    let secret = authorities(4).remove(0);
    let mut engine = Authority::new(start, SCHEDULE, set(), secret, ballot, Stored::default(), seeded([1; 32]));
    engine.handle_time(during(Phase::Vote));
    sent(&mut engine);
    engine
}

/// What it sends.
fn sent(engine: &mut Authority) -> Vec<(AuthorityId, Message)> {
    let mut all = Vec::new();
    while let Some(action) = engine.poll_action() {
        if let Action::Send(to, message) = action {
            all.push((to, message));
        }
    }
    all
}

fn statement(author: usize, kind: Kind, digest: [u8; 32]) -> SignedStatement {
    let network = set().network();
    Statement { network, epoch: Epoch(1), kind, author: id(author), digest }.sign(&authorities(4)[author])
}

fn bodies_asked_for(engine: &mut Authority) -> usize {
    sent(engine).iter().filter(|(_, message)| matches!(message, Message::WantBody(_))).count()
}

/// A hostile authority copies the vote of another one whose link is cut, bytes and all.
#[test]
fn who_puts_its_name_under_anothers_vote_does_not_hide_it() {
    let body: Arc<[u8]> = b"a vote".as_slice().into();
    for order in [[1, 2], [2, 1]] {
        let mut engine = authority();
        let now = during(Phase::Certify(1));
        for author in order {
            let signed = statement(author, Kind::Vote, Vote::digest(&body));
            let chain = vec![signed.countersign(&authorities(4)[3])];
            engine.handle_message(now, id(3), Message::Relay(signed, chain));
        }
        assert_eq!(bodies_asked_for(&mut engine), 2);
        engine.handle_message(now, id(3), Message::Body(body.clone()));
        assert_eq!(engine.status(now).votes, 3, "its own, the vote and the copy");
    }
}

/// A liar and its accomplice name votes that nobody has, so that the one that they gave to somebody else finds no room.
#[test]
fn statements_without_a_body_take_the_place_of_nobodys() {
    let mut engine = authority();
    let now = during(Phase::Certify(1));
    let body: Arc<[u8]> = b"a vote".as_slice().into();
    for digest in [[1; 32], [2; 32], [3; 32]] {
        let decoy = statement(1, Kind::Vote, digest);
        engine.handle_message(now, id(2), Message::Relay(decoy, vec![decoy.countersign(&authorities(4)[2])]));
    }
    assert_eq!(bodies_asked_for(&mut engine), 2, "two of one relayer at most");
    let real = statement(1, Kind::Vote, Vote::digest(&body));
    engine.handle_message(now, id(3), Message::Relay(real, vec![real.countersign(&authorities(4)[3])]));
    assert_eq!(bodies_asked_for(&mut engine), 1);
    engine.handle_message(now, id(3), Message::Body(body));
    assert_eq!(engine.status(now).votes, 2, "its own, and the one that was hidden");
}

#[test]
fn a_small_question_for_a_large_body_is_answered_some_times_and_no_more() {
    let mut engine = authority();
    let now = during(Phase::Vote);
    let own = {
        engine.handle_connected(now, id(1));
        sent(&mut engine).into_iter().find_map(|(_, message)| match message {
            Message::Statement(signed, _) => Some(signed.statement().digest),
            _ => None,
        })
    };
    let answers = |engine: &mut Authority, from: usize| {
        for _ in 0..100 {
            engine.handle_message(now, id(from), Message::WantBody(own.unwrap()));
        }
        sent(engine).iter().filter(|(_, message)| matches!(message, Message::Body(_))).count()
    };
    assert_eq!((answers(&mut engine, 1), answers(&mut engine, 1), answers(&mut engine, 2)), (16, 0, 16));
}

#[test]
fn words_for_one_statement_do_not_count_for_another_with_the_same_body() {
    // Of seven authorities two may be hostile: in the second step a relayed vote needs two words.
    let many = authorities(7);
    let keys = common::ids(&many);
    let set = veilpost_pki::AuthoritySet::new(common::NAME, &keys, 2).unwrap();
    let at = |phase, ms| SCHEDULE.phase_start(Epoch(1), phase, 2) + Duration::from_millis(ms);
    let ballot = Ballot { params: Params::standard(), admitted: BTreeMap::new() };
    let secret = authorities(7).remove(0);
    let start = SCHEDULE.round_start(Epoch(1), 2);
    let mut engine = Authority::new(start, SCHEDULE, set.clone(), secret, ballot, Stored::default(), seeded([1; 32]));
    engine.handle_time(at(Phase::Vote, 0));
    let body: Arc<[u8]> = b"a vote".as_slice().into();
    let signed = |author: usize| {
        let (network, author_id, digest) = (set.network(), keys[author], Vote::digest(&body));
        Statement { network, epoch: Epoch(1), kind: Kind::Vote, author: author_id, digest }.sign(&many[author])
    };
    let words = |author: usize, by: &[usize]| by.iter().map(|by| signed(author).countersign(&many[*by])).collect();
    let first = at(Phase::Certify(1), 900);
    engine.handle_message(first, keys[1], Message::Relay(signed(1), words(1, &[2])));
    let second = at(Phase::Certify(2), 100);
    engine.handle_message(second, keys[3], Message::Relay(signed(4), words(4, &[3, 5])));
    engine.handle_message(second, keys[3], Message::Body(body.clone()));
    // What it holds beside its own is what it tells one that connects.
    engine.handle_connected(second, keys[6]);
    let held = sent(&mut engine).into_iter().filter_map(|(to, message)| match message {
        Message::Relay(signed, _) if to == keys[6] => Some(signed.statement().author),
        _ => None,
    });
    assert_eq!(held.collect::<Vec<_>>(), [keys[4]], "the one that two vouched for");
}

#[test]
fn a_reveal_of_another_length_is_silence() {
    for length in [0, 31, 33, 1_000_000] {
        let mut engine = authority();
        let now = during(Phase::Reveal);
        engine.handle_time(now);
        let body: Arc<[u8]> = vec![7; length].into();
        let digest = reveal_digest(&body);
        engine.handle_message(now, id(1), Message::Statement(statement(1, Kind::Reveal, digest), body));
        engine.handle_message(now, id(2), Message::WantBody(digest));
        let kept = |(_, message): &(_, Message)| matches!(message, Message::Body(_) | Message::Relay(..));
        assert!(!sent(&mut engine).iter().any(kept), "{length}");
    }
    let mut engine = authority();
    let (now, body) = (during(Phase::Reveal), Arc::<[u8]>::from([7; 32]));
    let signed = statement(1, Kind::Reveal, reveal_digest(&body));
    engine.handle_message(now, id(1), Message::Statement(signed, body.clone()));
    engine.handle_message(now, id(2), Message::WantBody(reveal_digest(&body)));
    assert!(sent(&mut engine).contains(&(id(2), Message::Body(body))));
}

#[test]
fn nobody_gets_a_value_before_it_is_revealed() {
    let mut engine = authority();
    engine.handle_time(during(Phase::Certify(1)));
    let revealed = |engine: &mut Authority| {
        let all = sent(engine).into_iter();
        all.filter_map(|(_, message)| match message {
            Message::Statement(signed, body) if signed.statement().kind == Kind::Reveal => {
                Some((signed.statement().digest, body))
            }
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    engine.handle_connected(during(Phase::Certify(1)), id(1));
    assert!(revealed(&mut engine).is_empty());
    engine.handle_time(during(Phase::Reveal));
    let all = revealed(&mut engine);
    assert_eq!(all.len(), 3);
    // The same engine, asked for the hash before its time.
    let mut early = authority();
    early.handle_message(during(Phase::Certify(1)), id(1), Message::WantBody(all[0].0));
    assert!(!sent(&mut early).iter().any(|(_, message)| matches!(message, Message::Body(_))));
}
