//! Commands that go without mixes.

use super::{world, *};
use crate::transport::Transport;
use std::collections::BTreeSet;
use veilpost_packet::{command::Command, frame::Want};
use veilpost_pki::{View, signed::sign_view};

const TIME: Duration = Duration::from_secs(900);

/// A client by `tor` on a network of three mailboxes, so many of which have an onion service.
fn connected(onions: usize) -> Core {
    let mut core = core();
    let ids: Vec<_> = (0..3).map(|number| world::mailbox_secret(number).node_id()).collect();
    let mut view = View::clone(&world::document(2, &ids, &core.authorities));
    for (number, mailbox) in view.mailboxes.iter_mut().take(onions).enumerate() {
        mailbox.onion = Some(onion(number));
    }
    view.entries[0].onion = Some(onion(9));
    core.set_transport(NOW, Transport::Tor).unwrap();
    core.handle_document(NOW, &sign_view(&view, &[SigningSecret::from_seed(&[1; 32])])).unwrap();
    let session = core.new_session();
    core.handle_connected(NOW, &session, view.entries[0].id);
    core
}

fn onion(number: usize) -> String {
    format!("{}.onion", "abcdefghij".chars().nth(number).unwrap().to_string().repeat(56))
}

/// What leaves, and when.
fn run(core: &mut Core) -> Vec<(Timestamp, Departure)> {
    let (mut now, mut left) = (NOW, Vec::new());
    while now < NOW + TIME {
        core.handle_timers(now);
        while let Some(job) = core.poll_job(now) {
            core.handle_built(job.run());
        }
        while let Some(departure) = core.poll_departure(now) {
            left.push((now, departure));
        }
        now = core.next_wake(now).max(now + Duration::from_millis(1));
    }
    left
}

/// The onion service of a command.
fn to_mailbox(departure: &Departure) -> Option<&str> {
    match departure {
        Departure::Mailbox(command) => Some(&command.onion),
        Departure::Entry(_) => None,
    }
}

fn assert_as_often(counted: usize, per_second: f64) {
    let expected = TIME.as_secs_f64() * per_second;
    assert!((counted as f64 - expected).abs() < 5.0 * expected.sqrt(), "{counted}, not about {expected}");
}

#[test]
fn a_tick_for_a_mailbox_without_onion_service_sends_all_the_same_to_one_that_has_one() {
    for onions in [1, 2, 3] {
        let mut core = connected(onions);
        let left = run(&mut core);
        let commands: Vec<&str> = left.iter().filter_map(|(_, departure)| to_mailbox(departure)).collect();
        assert_as_often(commands.len(), Params::standard().rates(Profile::Standard).up());
        assert_eq!(commands.iter().collect::<BTreeSet<_>>().len(), onions);
        let told = core.status(NOW + TIME).unwrap().warnings.iter().any(|warning| warning.contains("no onion service"));
        assert_eq!(told, onions < 3, "the person is told that boxes there are not found");
    }
}

/// When something left, and whether to the entry.
fn as_seen(left: &[(Timestamp, Departure)]) -> Vec<(Timestamp, bool)> {
    left.iter().map(|(at, departure)| (*at, to_mailbox(departure).is_none())).collect()
}

#[test]
fn that_something_is_asked_of_the_entry_shows_in_no_tick_and_in_no_frame() {
    let (mut idle, mut missing) = (connected(3), connected(3));
    let document = missing.document.clone().unwrap();
    for mailbox in &document.mailboxes {
        missing.sets.begin(NOW, mailbox.id, NOW - Duration::from_secs(40_000), &document.params);
    }
    let (idle, missing) = (run(&mut idle), run(&mut missing));
    assert_eq!(as_seen(&idle), as_seen(&missing));
    let wants = |left: &[(Timestamp, Departure)]| left.iter().filter_map(|(_, departure)| want(departure)).collect();
    let (idle, missing): (Vec<Want>, Vec<Want>) = (wants(&idle), wants(&missing));
    assert_as_often(idle.len(), 1.0 / Params::standard().loop_gap.as_secs_f64());
    assert!(idle.iter().all(|want| *want == Want::NOTHING) && missing.iter().any(|want| *want != Want::NOTHING));
}

#[test]
fn what_is_asked_of_the_entry_leaves_at_its_tick_though_no_command_does() {
    let (mut all, mut none) = (connected(3), connected(0));
    let mut asked = as_seen(&run(&mut all));
    asked.retain(|(_, to_entry)| *to_entry);
    assert_eq!(as_seen(&run(&mut none)), asked);
}

/// What an entry is asked for.
fn want(departure: &Departure) -> Option<Want> {
    match departure {
        Departure::Entry(frame) => Some(Want::decode(frame.body()).unwrap()),
        Departure::Mailbox(_) => None,
    }
}

#[test]
fn an_answer_that_nothing_waits_for_is_no_bad_reply() {
    let mut core = connected(3);
    let frame = Command::Loop.to_frame(core.document.as_ref().unwrap().epoch);
    core.handle_replied(NOW, &SurbId::new([7; 16]).unwrap(), &frame);
    assert_eq!(core.counters().bad_replies, 0);
}

#[test]
fn a_transport_that_the_network_cannot_serve_is_not_taken() {
    let mut core = connected(3);
    core.set_transport(NOW, Transport::MixnetOverTor).unwrap();
    assert_eq!(core.transport(), Transport::MixnetOverTor);
    let mut core = connected(2);
    core.set_transport(NOW, Transport::Mixnet).unwrap();
    assert!(matches!(core.set_transport(NOW, Transport::Tor), Err(CoreError::NoOnions(_))));
    assert_eq!(core.transport(), Transport::Mixnet);
}
