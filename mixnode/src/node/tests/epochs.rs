//! Epochs that follow one another while packets flow.

use super::*;
use veilpost_daemon::leave;

/// How soon the next epoch begins after its document was published: the file is looked at every second.
const SOON: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(2);

/// A packet for the relay in layer 2, of the epoch `later` epochs behind [`EPOCH`], as layer 1 hands it on.
fn through(world: &World, later: usize, number: u32) -> Frame {
    let own = Hop { address: world.own.id.0, key: world.own.sphinx_keys[later] };
    let mut secret = [later as u8 + 1; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    let packet = build(secret, &[hop(4), hop(1), own, hop(3), hop(5)], &[Duration::from_millis(5); 4], b"x").unwrap();
    let packet = forward(&forward(&packet, 4).1, 1).1;
    Frame::new(FrameKind::Packet, Flags::for_epoch(Epoch(EPOCH.0 + later as u64)), packet.as_bytes()).unwrap()
}

fn short_grace(role: Role, seed: u8, dialed: &[u8]) -> World {
    let mut world = World::new(role, seed, dialed);
    world.view.params.key_grace = GRACE;
    world.publish(&world.view);
    world
}

async fn next_of(link: &mut Link) -> Flags {
    let frame = timeout(LONG, link.receiver.recv()).await.unwrap().unwrap().unwrap();
    assert_eq!(frame.kind(), FrameKind::Packet);
    frame.flags()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_follow_one_another_while_packets_flow_and_none_is_lost() {
    let world = short_grace(Role::Mix, 2, &[3, 13]);
    let running = world.start().await;
    let layer_one = world.dial(&running, 1).await.unwrap();
    let mut layer_three = accept(&world.next[0].1).await;
    running.wait_for("veilpost_mixnode_relaying 1").await;
    let next = world.later(1, SOON);
    world.publish(&next);
    running.wait_for("veilpost_mixnode_live_keys 2").await;

    // Before, at and after the border: neighbours with slow and fast clocks send both.
    let (mut sent, switch) = (0, next.valid_after + GRACE / 2);
    while Clock::start().now() < switch {
        for later in [0, 1] {
            layer_one.sender.send(through(&world, later, sent)).await.unwrap();
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.wait_for(&format!("veilpost_mixnode_epoch {}", EPOCH.0 + 1)).await;
    let mut arrived = [0, 0];
    for _ in 0..2 * sent {
        let flags = next_of(&mut layer_three).await;
        arrived[usize::from(flags == Flags::for_epoch(Epoch(EPOCH.0 + 1)))] += 1;
    }
    assert_eq!(arrived, [sent, sent]);

    // After the grace period the old key is gone, and the link goes on.
    running.wait_for("veilpost_mixnode_live_keys 1").await;
    let file = |name: String| world.config.node.data_dir.join("sphinx").join(name);
    assert!(!file(format!("{}.key", EPOCH.0)).exists() && !file(format!("{}.tags", EPOCH.0)).exists());
    assert!(file(format!("{}.key", EPOCH.0 + 1)).exists());
    layer_one.sender.try_send(through(&world, 0, sent)).unwrap();
    layer_one.sender.try_send(through(&world, 1, sent)).unwrap();
    running.wait_for("veilpost_mixnode_dropped_total{reason=\"epoch\"} 1").await;
    assert_eq!(next_of(&mut layer_three).await, Flags::for_epoch(Epoch(EPOCH.0 + 1)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_follow_the_documents_and_who_left_is_cut_after_the_grace_period() {
    let world = short_grace(Role::Mix, 2, &[3, 13]);
    let running = world.start().await;
    let mut leaving = world.dial(&running, 1).await.unwrap();
    let mut old_next = accept(&world.next[0].1).await;
    let mut next = world.later(1, SOON);
    // Of layers 1 and 3 the first leave.
    next.layers[0].remove(0);
    next.layers[2].remove(0);
    world.publish(&next);
    running.wait_for("veilpost_mixnode_live_keys 2").await;
    let staying = world.dial(&running, 11).await.unwrap();
    let mut new_next = accept(&world.next[1].1).await;
    leaving.sender.try_send(through(&world, 0, 1)).unwrap();
    assert_eq!(next_of(&mut old_next).await, Flags::for_epoch(EPOCH));
    // In the epoch to come it is not listed, so its packets of that epoch are refused.
    leaving.sender.try_send(through(&world, 1, 2)).unwrap();
    running.wait_for("veilpost_mixnode_dropped_total{reason=\"from\"} 1").await;
    running.wait_for("veilpost_mixnode_live_keys 1").await;
    for link in [&mut leaving, &mut old_next] {
        while let Ok(Ok(Some(_))) = timeout(LONG, link.receiver.recv()).await {}
    }
    assert_eq!(world.dial(&running, 1).await.unwrap_err(), DialError::Refused);
    // 13 stands at the place of 3 now.
    let own = Hop { address: world.own.id.0, key: world.own.sphinx_keys[1] };
    let packet =
        build([9; 32], &[hop(4), hop(11), own, hop(13), hop(5)], &[Duration::from_millis(5); 4], b"x").unwrap();
    let packet = forward(&forward(&packet, 4).1, 11).1;
    let flags = Flags::for_epoch(Epoch(EPOCH.0 + 1));
    staying.sender.try_send(Frame::new(FrameKind::Packet, flags, packet.as_bytes()).unwrap()).unwrap();
    assert_eq!(next_of(&mut new_next).await, flags);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_replays_of_both_epochs_are_refused_without_any_source() {
    let world = short_grace(Role::Mix, 2, &[3]);
    let running = world.start().await;
    let next = world.later(1, Duration::from_secs(120));
    world.publish(&next);
    running.wait_for("veilpost_mixnode_live_keys 2").await;
    let layer_one = world.dial(&running, 1).await.unwrap();
    for later in [0, 1] {
        layer_one.sender.try_send(through(&world, later, 1)).unwrap();
    }
    running.wait_for("veilpost_mixnode_forwarded_total 2").await;
    drop(layer_one);
    running.stop().await;
    std::fs::remove_file(world.config.node.document.as_ref().unwrap()).unwrap();

    let running = world.start().await;
    running.wait_for("veilpost_mixnode_replay_tags 2").await;
    let layer_one = world.dial(&running, 1).await.unwrap();
    for later in [0, 1] {
        layer_one.sender.try_send(through(&world, later, 1)).unwrap();
    }
    running.wait_for("veilpost_mixnode_dropped_total{reason=\"replay\"} 2").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_hands_the_next_document_to_its_sessions_and_they_live_on() {
    let world = short_grace(Role::Entry, 4, &[1]);
    let running = world.start().await;
    // At once: a dial that nobody takes for a while is given up, and the next one is another link.
    let mut layer_one = accept(&world.next[0].1).await;
    let session = SessionAddress([77; 32]);
    let client = Endpoint::anonymous_dialer(Limits::default()).unwrap();
    let hello = Hello::client(session, DocumentHash::default()).to_frame();
    let mut link = client.dial(running.address, &world.own.link_key, hello).await.unwrap();
    let next = world.later(1, SOON);
    world.publish(&next);
    let (mut stream, mut documents) = (RecordJoiner::new(DOCUMENT_MAX), Vec::new());
    while documents.len() < 2 {
        let frame = timeout(LONG, link.receiver.recv()).await.unwrap().unwrap().unwrap();
        if frame.kind() == FrameKind::Document {
            documents.extend(stream.push(frame.body()).unwrap());
        }
    }
    assert_eq!(documents, [signed(&world.view), signed(&next)]);
    assert!(Clock::start().now() < next.valid_after, "before its time");
    running.wait_for(&format!("veilpost_mixnode_epoch {}", EPOCH.0 + 1)).await;
    running.wait_for("veilpost_mixnode_live_keys 1").await;
    let own = Hop { address: world.own.id.0, key: world.own.sphinx_keys[1] };
    let up = build([3; 32], &[own, hop(1), hop(2), hop(3), hop(5)], &[Duration::from_millis(5); 4], b"x").unwrap();
    let flags = Flags::for_epoch(Epoch(EPOCH.0 + 1));
    link.sender.try_send(Frame::new(FrameKind::Packet, flags, up.as_bytes()).unwrap()).unwrap();
    assert_eq!(next_of(&mut layer_one).await, flags);
    running.wait_for("veilpost_mixnode_sessions 1").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_begins_to_relay_when_a_document_lists_it_and_ends_its_sessions_when_none_does() {
    let world = short_grace(Role::Entry, 4, &[1]);
    std::fs::remove_file(world.config.node.document.as_ref().unwrap()).unwrap();
    let running = world.start().await;
    running.wait_for("veilpost_mixnode_epoch 0").await;
    world.publish(&world.view);
    running.wait_for("veilpost_mixnode_relaying 1").await;
    let client = Endpoint::anonymous_dialer(Limits::default()).unwrap();
    let hello = Hello::client(SessionAddress([77; 32]), DocumentHash::default()).to_frame();
    let _link = client.dial(running.address, &world.own.link_key, hello).await.unwrap();
    running.wait_for("veilpost_mixnode_sessions 1").await;
    let mut next = world.later(1, Duration::ZERO);
    next.entries.retain(|entry| entry.id != world.own.id);
    world.publish(&next);
    running.wait_for("veilpost_mixnode_relaying 0").await;
    running.wait_for("veilpost_mixnode_sessions 1").await;
    running.wait_for("veilpost_mixnode_live_keys 0").await;
    running.wait_for("veilpost_mixnode_sessions 0").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_goes_on_until_nothing_can_be_on_its_way_and_ends_well() {
    let world = short_grace(Role::Mix, 2, &[3]);
    let running = world.start().await;
    running.wait_for("veilpost_mixnode_relaying 1").await;
    leave::mark(&world.config.node.data_dir, true).unwrap();
    let layer_one = world.dial(&running, 1).await.unwrap();
    let mut next = world.later(1, Duration::from_secs(2));
    next.layers[1].retain(|mix| mix.id != world.own.id);
    world.publish(&next);
    running.wait_for("veilpost_mixnode_relaying 0").await;
    layer_one.sender.try_send(through(&world, 0, 1)).unwrap();
    let mut layer_three = accept(&world.next[0].1).await;
    assert_eq!(next_of(&mut layer_three).await, Flags::for_epoch(EPOCH));
    timeout(LONG, running.task).await.unwrap().unwrap().unwrap();
    assert!(Clock::start().now() >= next.valid_after + GRACE);
    assert!(!world.config.node.data_dir.join(format!("sphinx/{}.key", EPOCH.0)).exists());
}
