use super::*;
use crate::{
    signal::{self, SignalError},
    store::{contacts, messages},
};
use veilpost_packet::primitives::SigningSecret;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn core() -> Core {
    let authority = SigningSecret::from_seed(&[1; 32]).authority_id();
    let set = AuthoritySet::new("test", &[authority], 0).unwrap();
    let mut store = Store::in_memory().unwrap();
    let mut rng = random::seeded([2; 32]);
    let made = store.transaction(|tx| signal::create_account(tx, "Alice", set.network(), NOW, &mut rng));
    made.unwrap();
    Core::new(NOW, store, set, rng).unwrap()
}

fn invited(core: &mut Core, now: Timestamp) -> String {
    core.invite(now, Some("Bob"), 1).unwrap();
    core.handle_timers(now + Duration::from_secs(20));
    match core.poll_answer() {
        Some((1, Ok(Answer::Invited { link, stored: false }))) => link,
        other => panic!("no link: {other:?}"),
    }
}

#[test]
fn an_invitation_that_cannot_be_stored_yet_is_given_out_after_a_while_and_says_so() {
    assert_eq!(invited(&mut core(), NOW).len(), crate::invitation::LINK_LENGTH);
}

#[test]
fn an_accepted_link_that_nobody_can_read_yet_answers_that_it_waits() {
    let (mut alice, mut bob) = (core(), core());
    // Another identity, or it would be one's own link.
    bob.store = Store::in_memory().unwrap();
    let network = bob.authorities.network();
    let mut rng = random::seeded([3; 32]);
    bob.store.transaction(|tx| signal::create_account(tx, "Bob", network, NOW, &mut rng)).unwrap();
    let link = invited(&mut alice, NOW);
    bob.accept(NOW, &link, None, 7).unwrap();
    assert!(bob.poll_answer().is_none());
    bob.handle_timers(NOW + Duration::from_secs(20));
    assert!(matches!(bob.poll_answer(), Some((7, Ok(Answer::AcceptWaits(_))))));
    assert!(matches!(alice.accept(NOW, &link, None, 8), Err(CoreError::Signal(SignalError::Ourselves))));
}

#[test]
fn an_open_invitation_is_forgotten_with_its_keys_after_fourteen_days() {
    let mut core = core();
    invited(&mut core, NOW);
    let day = Params::standard().day;
    let sets = |core: &Core| -> i64 {
        core.store.connection().query_row("SELECT count(*) FROM prekey_sets", [], |row| row.get(0)).unwrap()
    };
    core.transaction(NOW + day * 13, |work| work.expire_invitations()).unwrap();
    assert_eq!((sets(&core), core.contact("Bob").unwrap().state), (1, contacts::ContactState::Invited));
    core.transaction(NOW + day * 15, |work| work.expire_invitations()).unwrap();
    assert_eq!((sets(&core), core.contact("Bob").unwrap().state), (0, contacts::ContactState::Failed));
}

#[test]
fn a_message_to_someone_who_has_not_answered_is_refused_and_changes_nothing() {
    let mut core = core();
    invited(&mut core, NOW);
    assert!(matches!(core.send_text(NOW, "Bob", "too early"), Err(CoreError::NotReady)));
    assert!(matches!(core.send_text(NOW, "nobody", "hello"), Err(CoreError::NoContact(_))));
    assert_eq!(core.status(NOW).unwrap().queued, 0);
}

#[test]
fn without_document_or_connection_nothing_is_built_or_sent_and_no_wake_up_is_in_the_past() {
    let mut core = core();
    core.handle_timers(NOW);
    assert!(core.poll_job(NOW).is_none() && core.poll_departure(NOW).is_none());
    assert!(core.next_wake(NOW) > NOW);
}

mod absence;
mod auditing;
mod clocks;
mod keeping;
mod minutes;
mod people;
mod restarting;
mod sets;
mod silence;
mod storing;
mod succession;
mod transports;
mod world;
