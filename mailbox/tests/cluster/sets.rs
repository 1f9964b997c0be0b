//! Which of a box's holders names it in its sets: one, and another one if that is gone.

use crate::{
    cluster::{Cluster, Command, MS, NETWORK},
    faults::params,
    people::mails,
    replication::pass,
};
use std::collections::BTreeMap;
use veilpost_packet::{
    boxes::BoxTag,
    set::{Period, SignedSet},
};
use veilpost_pki::Params;

const BOXES: usize = 24;
const HOUR: u64 = 3_600;

/// Who names which tags in its newest set of the day on which all boxes were sent, after time for making it.
fn named(cluster: &mut Cluster) -> BTreeMap<BoxTag, Vec<usize>> {
    let mut sets = BTreeMap::new();
    for _ in 0..20 {
        pass(cluster, 1);
        for number in (0..cluster.nodes.len()).filter(|number| cluster.is_up(*number)).collect::<Vec<_>>() {
            let now = cluster.now;
            for set in cluster.nodes[number].engine.as_mut().unwrap().poll_set(now).unwrap() {
                let part = SignedSet::verify(set.as_bytes()).unwrap().into_part();
                assert_eq!((part.head.mailbox, part.head.network), (cluster.nodes[number].id, NETWORK));
                if part.head.period == Period::Day(20_000) {
                    sets.insert(number, part.tags);
                }
            }
        }
    }
    let mut named: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (number, tags) in sets {
        tags.into_iter().for_each(|tag| named.entry(tag).or_default().push(number));
    }
    named
}

#[test]
fn what_a_dead_first_holder_cannot_name_any_more_the_second_does() {
    let mut cluster = Cluster::new(31, 3, Params { peer_gap: 1_000 * MS, ..params() });
    pass(&mut cluster, 20);
    for (number, mail) in mails(BOXES).iter().enumerate() {
        let to = cluster.holders(&mail.sealed.id)[0];
        cluster.send(number as u64, to, Command::Put(Box::new(mail.sealed.clone()), mail.content));
    }
    pass(&mut cluster, 120);
    let orders: Vec<_> =
        mails(BOXES).iter().map(|mail| (BoxTag::of(&mail.sealed.id), cluster.holders(&mail.sealed.id))).collect();
    let dead = orders[0].1[0];
    let before = named(&mut cluster);
    for (tag, order) in &orders {
        assert_eq!(before.get(tag), Some(&vec![order[0]]), "named once, by the first");
    }
    cluster.kill(dead);
    // Day sets are made again with the first hour that begins without it.
    pass(&mut cluster, HOUR);
    let after = named(&mut cluster);
    for (tag, order) in &orders {
        let first = order.iter().find(|holder| **holder != dead).copied();
        assert_eq!(after.get(tag), first.map(|first| vec![first]).as_ref(), "named once, by the first that is there");
    }
    assert!(orders.iter().filter(|(_, order)| order[0] == dead).count() > 1);
    cluster.start(dead);
    pass(&mut cluster, HOUR + 60);
    assert_eq!(named(&mut cluster), before, "and by the first again when it is back");
}
