//! When replies leave: their times must not tell a write from a read from a loop.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{DOCUMENT, EPOCH, Mail, NETWORK, Rig, START, mail, number, secret, surb};
use std::time::Duration;
use veilpost_mailbox::{
    engine::{Arrived, Back, REPLIES_MAX, Request},
    memory::MemoryStore,
};
use veilpost_packet::{command::Command, ids::District, time::Timestamp};
use veilpost_pki::PutAdmission;

/// Times at which the replies to these commands leave, which arrive 10 ms apart, by number.
fn times(commands: Vec<Command>) -> Vec<Timestamp> {
    let mut rig = Rig::new(MemoryStore::default());
    let count = commands.len();
    let engine = rig.engine();
    for (i, command) in commands.into_iter().enumerate() {
        let at = arrival(i);
        let request = Request::check(command, &PutAdmission::free(NETWORK), &secret());
        engine.handle_commands(
            at,
            vec![Arrived { at, epoch: EPOCH, document: DOCUMENT, back: Back::Surb(surb(i as u64)), request }],
        );
    }
    let mut times = vec![Timestamp::ZERO; count];
    while engine.waiting_replies() > 0 {
        let now = engine.next_wake();
        engine.poll_sweep(now).unwrap();
        engine.poll_digest(now).unwrap();
        while let Some((_, Back::Surb(surb), _)) = engine.poll_reply(now) {
            times[number(&surb) as usize] = now;
        }
    }
    times
}

fn arrival(i: usize) -> Timestamp {
    START + Duration::from_millis(10) * i as u32
}

#[test]
fn a_reply_leaves_at_the_same_time_whatever_was_asked_and_answered() {
    const COUNT: u64 = 60;
    let mails: Vec<Mail> = (0..COUNT).map(mail).collect();
    let district = District(0);
    let loops = times((0..COUNT).map(|_| Command::Loop).collect());
    let puts = times(mails.iter().map(|mail| Command::put(mail.sealed.clone())).collect());
    let same = times(mails.iter().map(|_| Command::put(mails[0].sealed.clone())).collect());
    let gets = times(mails.iter().map(|mail| Command::Get { id: mail.sealed.id, district }).collect());
    let refused = times(mails.iter().map(|mail| Command::Get { id: mail.sealed.id, district: District(9) }).collect());
    let acks = mails.iter().map(|mail| Command::Ack { id: mail.sealed.id, district, secret: mail.ack.clone() });
    for (what, other) in
        [("puts", puts), ("repeats", same), ("gets", gets), ("refused", refused), ("acks", times(acks.collect()))]
    {
        assert_eq!(other, loops, "{what}");
    }
}

#[test]
fn a_reply_waits_for_the_floor_and_an_exponential_time_more() {
    let count = 4_000;
    let rig = Rig::new(MemoryStore::default());
    let (floor, mean) = (rig.params.reply_floor, rig.params.hop_delay.as_secs_f64());
    let waits: Vec<f64> = times((0..count).map(|_| Command::Loop).collect())
        .iter()
        .enumerate()
        .map(|(i, time)| {
            let waited = time.since(arrival(i));
            assert!(waited >= floor);
            (waited - floor).as_secs_f64()
        })
        .collect();
    let average = waits.iter().sum::<f64>() / f64::from(count);
    assert!((average / mean - 1.0).abs() < 0.05, "{average} for a mean of {mean}");
    let longer = waits.iter().filter(|&&wait| wait > mean).count() as f64 / f64::from(count);
    assert!((longer / (-1.0_f64).exp() - 1.0).abs() < 0.06, "{longer} of the waits are longer than the mean");
}

#[test]
fn a_reply_counts_from_arrival_even_if_its_batch_came_late() {
    let mut rig = Rig::new(MemoryStore::default());
    let late = START + Duration::from_secs(600);
    let command =
        Arrived { at: START, epoch: EPOCH, document: DOCUMENT, back: Back::Surb(surb(0)), request: Request::Loop };
    rig.engine().handle_commands(late, vec![command]);
    assert!(rig.engine().poll_reply(late).is_some());
}

#[test]
fn replies_that_wait_are_bounded_and_what_is_more_is_dropped_and_counted() {
    let mut rig = Rig::new(MemoryStore::default());
    let command = |i: usize| Arrived {
        at: START,
        epoch: EPOCH,
        document: DOCUMENT,
        back: Back::Surb(surb(i as u64)),
        request: Request::Loop,
    };
    rig.engine().handle_commands(START, (0..REPLIES_MAX - 1).map(command).collect());
    rig.engine().handle_commands(START, (0..4).map(command).collect());
    assert_eq!(rig.engine().waiting_replies(), REPLIES_MAX);
    assert_eq!(rig.engine().counters().overflow, 3);
    let dropped = Arrived {
        at: START,
        epoch: EPOCH,
        document: DOCUMENT,
        back: Back::Surb(surb(0)),
        request: Request::check(Command::put(mail(1).sealed), &PutAdmission::free(NETWORK), &secret()),
    };
    rig.engine().handle_commands(START, vec![dropped]);
    assert_eq!(rig.engine().usage().boxes, 0, "what cannot be answered is not done");
}
