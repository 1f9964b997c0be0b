//! One document follows another: replies name the document of their packet's epoch, digests the one in force.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{DOCUMENT, EPOCH, Rig, surb, terms};
use std::time::Duration;
use veilpost_mailbox::{
    engine::{Arrived, Back, Request, Terms},
    memory::MemoryStore,
};
use veilpost_packet::{
    command::Reply,
    ids::DocumentHash,
    time::{Epoch, Tick, Timestamp},
};
use veilpost_pki::Params;

const NEXT: DocumentHash = DocumentHash([3; 8]);

fn asked(at: Timestamp, epoch: Epoch, document: DocumentHash) -> Arrived {
    Arrived { at, epoch, document, back: Back::Surb(surb(0)), request: Request::Loop }
}

/// The next document, with other times, is in force from now on.
fn switch(rig: &mut Rig<MemoryStore>, change: impl Fn(&mut Params)) {
    let (now, mut params) = (rig.now, rig.params.clone());
    change(&mut params);
    rig.params = params.clone();
    rig.engine().set_terms(now, Terms { document: NEXT, ..terms(&params) });
}

#[test]
fn a_reply_names_the_document_of_its_packets_epoch_whichever_is_in_force_when_it_leaves() {
    let mut rig = Rig::new(MemoryStore::default());
    let (now, later) = (rig.now, Epoch(EPOCH.0 + 1));
    rig.engine().handle_commands(now, vec![asked(now, EPOCH, DOCUMENT), asked(now, later, NEXT)]);
    switch(&mut rig, |_| {});
    rig.engine().handle_commands(now, vec![asked(now, EPOCH, DOCUMENT), asked(now, later, NEXT)]);
    let mut replies = Vec::new();
    while let Some((epoch, _, bytes)) = rig.engine().poll_reply(now + Duration::from_secs(600)) {
        replies.push((epoch, Reply::decode(&bytes).unwrap().document));
    }
    replies.sort_unstable();
    assert_eq!(replies, [(EPOCH, DOCUMENT), (EPOCH, DOCUMENT), (later, NEXT), (later, NEXT)]);
}

#[test]
fn digests_name_the_document_in_force_at_their_tick_and_the_chain_goes_on() {
    let mut rig = Rig::new(MemoryStore::default());
    let before = rig.tick().unwrap().unwrap();
    switch(&mut rig, |_| {});
    let after = rig.tick().unwrap().unwrap();
    assert_eq!((before.digest().document, after.digest().document), (DOCUMENT, NEXT));
    assert_eq!(after.digest().previous, before.hash());
    assert_eq!(after.digest().tick, before.digest().tick.next());
}

#[test]
fn reply_times_and_ticks_follow_the_document_in_force() {
    let mut rig = Rig::new(MemoryStore::default());
    rig.tick().unwrap().unwrap();
    let floor = Duration::from_secs(30);
    switch(&mut rig, |params| {
        params.reply_floor = floor;
        params.tick = Duration::from_secs(2);
    });
    let now = rig.now;
    rig.engine().handle_commands(now, vec![asked(now, EPOCH, DOCUMENT)]);
    assert!(rig.engine().poll_reply(now + floor - Duration::from_nanos(1)).is_none());
    let signed = rig.tick().unwrap().unwrap();
    assert_eq!(signed.digest().tick, Tick::at(rig.now, Duration::from_secs(2)));
}
