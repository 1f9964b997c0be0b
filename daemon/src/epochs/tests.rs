//! A node's keys over epochs that come, fail to come and come late.

use super::*;
use crate::{config::NodeConfig, identity, testing::World};
use std::{fs, path::PathBuf};

const HOUR: i64 = 3_600;
const GRACE: i64 = 600;

struct Node {
    _folder: tempfile::TempDir,
    config: NodeConfig,
    world: World,
    keeper: Keeper,
    documents: Documents,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = NodeConfig {
            data_dir: folder.path().join("data"),
            listen: "127.0.0.1:4001".parse().unwrap(),
            advertise: Vec::new(),
            network: folder.path().join("network.toml"),
            document: None,
            metrics: None,
            log: "info".into(),
            family: String::new(),
            capacity: 100,
            onion: false,
            tor_settings: None,
        };
        let own = identity::init(&config, Role::Mix, Epoch(1)).unwrap();
        let world = World { own: Some(own), ..World::now() };
        let keeper = keeper(&config);
        Self { _folder: folder, config, world, keeper, documents: Documents::default() }
    }

    /// The document of an epoch becomes known at its beginning or earlier.
    fn learn(&mut self, epoch: u64, start: i64, known: i64) {
        self.documents.insert(self.world.at(known), self.world.verified(epoch, start)).unwrap();
    }

    fn step(&mut self, at: i64) -> Step {
        self.keeper.step(self.world.at(at), &self.documents)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.config.data_dir.join("sphinx").join(name)
    }
}

fn keeper(config: &NodeConfig) -> Keeper {
    Keeper::new(Arc::new(NodeKeys::load(&config.data_dir).unwrap()), Role::Mix, config.capacity)
}

fn numbers(step: &Step) -> Vec<u64> {
    step.live.numbers().iter().map(|epoch| epoch.0).collect()
}

fn opened(step: &Step) -> Vec<u64> {
    step.opened.iter().map(|opened| opened.epoch.0).collect()
}

#[test]
fn a_key_is_opened_when_its_document_is_known_and_erased_after_its_grace() {
    let mut node = Node::new();
    node.learn(1, 0, 0);
    let first = node.step(0);
    assert_eq!((opened(&first), numbers(&first), first.waiting.clone()), (vec![1], vec![1], None));
    node.learn(2, HOUR, HOUR / 2);
    let both = node.step(HOUR / 2);
    assert_eq!((opened(&both), numbers(&both)), (vec![2], vec![1, 2]));
    let switched = node.step(HOUR);
    assert_eq!((opened(&switched), switched.closed.len(), numbers(&switched)), (vec![], 0, vec![1, 2]));
    assert!(node.file("1.key").exists());
    let over = node.step(HOUR + GRACE);
    assert_eq!((over.closed, over.live.numbers()), (vec![Epoch(1)], &[Epoch(2)][..]));
    assert!(!node.file("1.key").exists() && !node.file("1.tags").exists());
    assert!(node.file("2.key").exists() && node.file("13.key").exists());
}

#[test]
fn after_failed_rounds_the_keys_of_epochs_that_never_came_go_too() {
    let mut node = Node::new();
    node.learn(1, 0, 0);
    node.step(0);
    node.learn(4, 3 * HOUR - 1, 2 * HOUR + 1_800);
    assert_eq!(numbers(&node.step(2 * HOUR + 1_800)), [1, 4]);
    assert_eq!(numbers(&node.step(3 * HOUR)), [1, 4]);
    assert!(!node.file("2.key").exists() && !node.file("3.tags").exists());
    assert_eq!(numbers(&node.step(3 * HOUR + GRACE)), [4]);
}

#[test]
fn a_node_that_is_not_listed_waits_until_it_is() {
    let mut node = Node::new();
    assert_eq!(node.step(0).waiting, Some(Waiting::Document));
    let own = node.world.own.take();
    node.learn(1, 0, 0);
    let unlisted = node.step(0);
    assert_eq!((numbers(&unlisted), opened(&unlisted)), (vec![], vec![]));
    assert!(matches!(unlisted.waiting, Some(Waiting::Listing(_))));
    node.world.own = own;
    node.learn(2, HOUR, HOUR / 2);
    let early = node.step(HOUR / 2);
    assert_eq!(numbers(&early), [2]);
    assert!(early.waiting.is_some(), "the document in force does not list it yet");
    assert_eq!(node.step(HOUR).waiting, None);
    // And when it is taken out again, its last key lives for its grace period.
    node.world.own = None;
    node.learn(3, 2 * HOUR, 2 * HOUR);
    assert_eq!(numbers(&node.step(2 * HOUR)), [2]);
    let gone = node.step(2 * HOUR + GRACE);
    assert_eq!(numbers(&gone), [0_u64; 0]);
    assert!(matches!(gone.waiting, Some(Waiting::Listing(_))));
}

#[test]
fn without_its_tag_log_an_epoch_is_lost_and_the_node_rejoins_at_the_next() {
    let mut node = Node::new();
    fs::remove_file(node.file("1.tags")).unwrap();
    node.learn(1, 0, 0);
    let lost = node.step(0);
    assert_eq!((numbers(&lost), lost.waiting.clone()), (vec![], Some(Waiting::Key(Epoch(1)))));
    assert!(lost.problem.is_none() && !node.file("1.key").exists());
    assert_eq!(node.step(1).waiting, Some(Waiting::Key(Epoch(1))));
    node.learn(2, HOUR, HOUR / 2);
    node.step(HOUR / 2);
    assert_eq!(node.step(HOUR).waiting, None);
}

#[test]
fn after_an_unclean_boot_every_epoch_that_was_open_is_lost_and_the_one_after_is_not() {
    use std::os::unix::fs::FileExt;
    let mut node = Node::new();
    node.learn(1, 0, 0);
    node.learn(2, HOUR, HOUR / 2);
    drop(node.step(HOUR / 2).opened);
    // The machine went down: both logs are without the mark of a clean stop, and another boot reads them.
    for name in ["1.tags", "2.tags"] {
        let file = fs::OpenOptions::new().write(true).open(node.file(name)).unwrap();
        file.write_all_at(&[b'x'; 36], 80).unwrap();
    }
    node.keeper = keeper(&node.config);
    let lost = node.step(HOUR / 2 + 1);
    assert_eq!((numbers(&lost), lost.waiting.clone()), (vec![], Some(Waiting::Key(Epoch(1)))));
    assert!(lost.problem.is_none() && !node.file("1.key").exists() && !node.file("2.tags").exists());
    assert_eq!(node.step(HOUR).waiting, Some(Waiting::Key(Epoch(2))));
    node.learn(3, 2 * HOUR, HOUR + 1_800);
    node.step(HOUR + 1_800);
    assert_eq!(node.step(2 * HOUR).waiting, None);
}

#[test]
fn a_restarted_node_has_the_tags_of_both_epochs() {
    let mut node = Node::new();
    node.learn(1, 0, 0);
    node.learn(2, HOUR, HOUR / 2);
    let tag = veilpost_packet::replay::Tag::from_bytes([7; 8]);
    for mut opened in node.step(HOUR / 2).opened {
        opened.memory.log.append(&[tag]).unwrap();
    }
    node.keeper = keeper(&node.config);
    let again = node.step(HOUR);
    assert_eq!(opened(&again), [1, 2]);
    assert!(again.opened.iter().all(|opened| opened.memory.table.len() == 1));
}

#[test]
fn a_log_that_another_process_uses_is_a_persons_problem() {
    let mut node = Node::new();
    node.learn(1, 0, 0);
    let first = node.step(0);
    node.keeper = keeper(&node.config);
    let second = node.step(0);
    assert!(matches!(second.problem, Some(IdentityError::TagLog(TagLogError::InUse { .. }))));
    assert!(numbers(&second).is_empty() && node.file("1.key").exists());
    drop(first);
}

#[test]
fn a_table_grows_by_an_epoch_with_every_round_that_fails() {
    let mut node = Node::new();
    node.learn(1, 0, 0);
    let max = |step: &Step| step.live.get(Epoch(1)).unwrap().tags_max;
    let first = max(&node.step(0));
    assert_eq!(first, (3_600 + 1_800 + 600) * 125);
    assert_eq!(max(&node.step(HOUR - 1)), first);
    assert_eq!(max(&node.step(HOUR)), first + 3_600 * 125);
    assert_eq!(max(&node.step(2 * HOUR)), first + 2 * 3_600 * 125);
    // The rounds that did not fail any more add nothing.
    node.learn(4, 3 * HOUR - 1, 2 * HOUR + 1_800);
    assert_eq!(max(&node.step(3 * HOUR)), first + 2 * 3_600 * 125);
}

#[test]
fn peers_are_known_by_any_live_document_and_dialed_once() {
    let mut node = Node::new();
    node.learn(1, 0, 0);
    node.learn(2, HOUR, HOUR / 2);
    let live = node.step(HOUR / 2).live;
    let from_before = |ours: Place, theirs: Place| veilpost_pki::admission::may_come(ours, theirs);
    assert!(matches!(live.peer(&LinkKey([1; 32]), from_before), Some(Some(_))));
    assert_eq!(live.peer(&LinkKey([3; 32]), from_before), Some(None));
    assert_eq!(live.peer(&LinkKey([99; 32]), from_before), None);
    assert_eq!(live.next_hops().len(), 1);
}
