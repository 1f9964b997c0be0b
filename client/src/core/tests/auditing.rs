//! Mailboxes that sign and do not keep their word: noticed, shown, and worked around.

use super::{
    world::{Nature, World},
    *,
};
use crate::{
    core::evidence::Evidence,
    store::{audits, messages::State},
};

/// Alice and Bob, and the mailbox of two that turns bad.
fn with_bad(nature: Nature) -> (World, NodeId) {
    let mut world = World::befriended(2, 2);
    let bad = *world.mailboxes.keys().next().unwrap();
    world.mailboxes.get_mut(&bad).unwrap().nature = nature;
    world.mailboxes.get_mut(&bad).unwrap().boxes.clear();
    (world, bad)
}

/// Steps until Alice is warned of the mailbox; gives how often it was audited by then.
fn noticed(world: &mut World, bad: &NodeId, words: &str) -> Option<usize> {
    let name: String = bad.to_string().chars().take(12).collect();
    let mut drawn = BTreeSet::new();
    for _ in 0..400 {
        world.steps(10);
        drawn.extend(world.people[0].audits.iter().filter(|(_, audit)| audit.holder == *bad).map(|(id, _)| *id));
        if world.warnings(0).iter().any(|told| told.contains(&name) && told.contains(words)) {
            let open =
                world.people[0].audits.iter().filter(|(_, audit)| audit.holder == *bad && audit.tries == 0).count();
            return Some(drawn.len() - open);
        }
    }
    None
}

#[test]
fn a_mailbox_that_throws_everything_away_is_noticed_by_its_first_audit() {
    let (mut world, bad) = with_bad(Nature::Drops);
    let after = noticed(&mut world, &bad, "does not have them").expect("noticed");
    assert!(after <= 2, "{after} audits, one of them perhaps on its way");
    let connection = world.people[0].store.connection();
    let sql = "SELECT receipt, box_id, content FROM faults ORDER BY id LIMIT 1";
    let (receipt, id, content): (Vec<u8>, [u8; 32], [u8; 32]) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let evidence = Evidence::from_bytes(&receipt).unwrap();
    let signed = evidence.signatures.iter().find(|signed| signed.holder == bad).unwrap();
    let (network, content) = (world.document.network, veilpost_packet::boxes::ContentHash(content));
    let id = veilpost_packet::ids::BoxId(id);
    assert!(signed.verify(&network, &id, &content, evidence.expiry), "the evidence convicts it");
}

#[test]
fn a_mailbox_that_answers_other_bytes_is_noticed_by_its_first_audit() {
    for nature in [Nature::Garbage, Nature::OldBytes] {
        let (mut world, bad) = with_bad(nature);
        let after = noticed(&mut world, &bad, "does not have them").expect("noticed");
        assert!(after <= 3, "{nature:?}: {after}");
    }
}

#[test]
fn a_mailbox_that_says_all_is_acknowledged_is_noticed_by_a_decoy_that_nobody_acknowledges() {
    let (mut world, bad) = with_bad(Nature::SaysGone);
    let after = noticed(&mut world, &bad, "does not have them").expect("noticed");
    // One in sixteen audits can tell: beyond 80 in one of 170 runs.
    assert!(after <= 80, "{after}");
}

#[test]
fn a_mailbox_that_hands_out_nothing_is_noticed_by_four_audits() {
    let (mut world, bad) = with_bad(Nature::Silent);
    // What was kept before says nothing for it.
    world.people[0].records.clear();
    assert!(noticed(&mut world, &bad, "does not hand out").is_some());
}

#[test]
fn honest_mailboxes_are_never_accused_whoever_reads_and_whatever_is_lost() {
    for (copies, loss) in [(1, 0), (2, 0), (2, 10)] {
        let mut world = World::befriended(copies, 3);
        world.loss = loss;
        for number in 0..12 {
            world.write(0, "Bob", &format!("message {number}"));
            world.steps(50);
        }
        // What no mailbox has taken is sent again ten minutes later on average.
        world.steps(200);
        let warnings = world.warnings(0);
        assert!(!warnings.iter().any(|told| told.starts_with("mailbox")), "{warnings:?}");
        assert_eq!(world.read(1).len(), 13, "loss {loss}");
        assert!(world.people[0].records.values().any(|record| record.kept > 0));
    }
}

#[test]
fn whatever_one_of_two_holders_does_messages_arrive() {
    for nature in [Nature::Drops, Nature::Garbage, Nature::OldBytes, Nature::SaysGone, Nature::Silent] {
        let (mut world, _) = with_bad(nature);
        let ids: Vec<_> = (0..6).map(|number| world.write(0, "Bob", &format!("message {number}"))).collect();
        world.steps(600);
        let mut came = world.read(1);
        came.sort();
        let expected = ["hello".to_owned()].into_iter().chain((0..6).map(|number| format!("message {number}")));
        assert_eq!(came, expected.collect::<Vec<_>>(), "{nature:?}");
        assert!(ids.iter().all(|id| world.state(0, *id) == State::Delivered), "{nature:?}");
    }
}

#[test]
fn a_box_that_was_lost_is_put_again_also_a_decoy() {
    let (mut world, bad) = with_bad(Nature::Drops);
    noticed(&mut world, &bad, "does not have them").unwrap();
    let sql = "SELECT box_id FROM faults ORDER BY id LIMIT 1";
    let lost: [u8; 32] = world.people[0].store.connection().query_row(sql, [], |row| row.get(0)).unwrap();
    let before = world.now;
    world.steps(100);
    let again = world.mailboxes.values().flat_map(|mailbox| &mailbox.brought);
    assert!(again.filter(|(sealed, at)| sealed.id.0 == lost && *at > before - Duration::from_secs(100)).count() > 0);
}

#[test]
fn audits_survive_a_restart_and_end() {
    let mut world = World::befriended(2, 2);
    world.steps(40);
    let before: Vec<_> = world.people[0].audits.keys().copied().collect();
    assert!(!before.is_empty());
    world.restart(0);
    assert_eq!(world.people[0].audits.keys().copied().collect::<Vec<_>>(), before);
    world.steps(1_000);
    let left = before.iter().filter(|id| world.people[0].audits.contains_key(id)).count();
    assert!(left <= 1, "{left}");
    let rows = audits::all(world.people[0].store.connection()).unwrap();
    assert_eq!(rows.len(), world.people[0].audits.len());
}

#[test]
fn an_audit_waits_like_a_repeated_get_and_asks_the_other_holder() {
    let mut world = World::befriended(2, 3);
    let id = world.write(0, "Bob", "x");
    let out = world.people[0].outbox.values().find(|out| out.message == Some(id)).unwrap().clone();
    let holders = world.holders_of(&out.sealed.id);
    let signatures = holders
        .iter()
        .map(|holder| veilpost_packet::command::HolderSignature { holder: *holder, signature: [1; 64] })
        .collect();
    let evidence = Evidence { expiry: out.sealed.expiry, signatures };
    let (now, core) = (world.now, &mut world.people[0]);
    let drawn: Vec<_> = (0..4_000).filter_map(|_| core.draw_audit(now, &out, &evidence, &holders[0])).collect();
    assert!((420..580).contains(&drawn.len()), "one in eight: {}", drawn.len());
    assert!(drawn.iter().all(|audit| audit.holder == holders[1] && audit.due >= now + Duration::from_secs(60)));
    let late = drawn.iter().filter(|audit| audit.due > now + Duration::from_secs(3_600)).count();
    assert!((5..60).contains(&late), "one in sixteen like an absence of ten minutes to ten days: {late}");
    for number in 0..5_000 {
        core.audits.insert(OutboxId(1_000_000 + number), drawn[0].clone());
    }
    assert!((0..100).all(|_| core.draw_audit(now, &out, &evidence, &holders[0]).is_none()), "at the bound");
}
