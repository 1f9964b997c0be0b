//! Commands that go without mixes.

use super::{world, *};
use crate::transport::Transport;
use std::collections::BTreeSet;
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

/// Which onion service each tick sent a command to.
fn run(core: &mut Core) -> Vec<String> {
    let (mut now, mut commands) = (NOW, Vec::new());
    while now < NOW + TIME {
        core.handle_timers(now);
        while let Some(job) = core.poll_job(now) {
            core.handle_built(job.run());
        }
        while let Some(departure) = core.poll_departure(now) {
            if let Departure::Mailbox(command) = departure {
                commands.push(command.onion);
            }
        }
        now = core.next_wake(now).max(now + Duration::from_millis(1));
    }
    commands
}

#[test]
fn a_tick_for_a_mailbox_without_onion_service_sends_all_the_same_to_one_that_has_one() {
    let expected = TIME.as_secs_f64() * Params::standard().rates(Profile::Standard).up();
    for onions in [1, 2, 3] {
        let mut core = connected(onions);
        let commands = run(&mut core);
        assert!((commands.len() as f64 - expected).abs() < 5.0 * expected.sqrt(), "{} commands", commands.len());
        assert_eq!(commands.iter().collect::<BTreeSet<_>>().len(), onions);
        let told = core.status(NOW + TIME).unwrap().warnings.iter().any(|warning| warning.contains("no onion service"));
        assert_eq!(told, onions < 3, "the person is told that boxes there are not found");
    }
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
