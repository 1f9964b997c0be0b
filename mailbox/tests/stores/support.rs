//! Boxes without writers, and children that die.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};
use veilpost_mailbox::{
    store::{Change, Confirmation, Held, Kept, StoreId, Tombstone, Waiting},
    stores::{self, DiskStore, EngineName},
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTag, ContentHash, SealedBox},
    command::HolderSignature,
    ids::{BoxId, District, NodeId},
    time::{Day, Tick},
};

pub(crate) const ENGINES: [EngineName; 2] = [EngineName::Sled, EngineName::Redb];
const FOLDER: &str = "VEILPOST_TEST_FOLDER";

pub(crate) fn open(engine: EngineName, folder: &Path) -> DiskStore {
    stores::open(engine, folder).unwrap()
}

/// Spread over the whole range of ids, as real ones are.
pub(crate) fn id(n: u64) -> BoxId {
    let mut bytes = [0; 32];
    let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[..8].copy_from_slice(&mixed.to_be_bytes());
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    BoxId(bytes)
}

/// A box that can be told from every other one, and no byte of which is by chance what it should be.
pub(crate) fn sealed(n: u64, expiry: Day) -> SealedBox {
    let mut state = n ^ u64::from(expiry.0) << 32 | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    SealedBox {
        id: id(n),
        district: District(3),
        class: BoxClass::Solo,
        expiry,
        signature: std::array::from_fn(|_| next()),
        ack_hash: std::array::from_fn(|_| next()),
        ciphertext: Box::new(std::array::from_fn(|_| next())),
    }
}

pub(crate) fn others(count: usize) -> Vec<Confirmation> {
    let one = |n: usize| Confirmation {
        signature: HolderSignature { holder: NodeId([n as u8; 32]), signature: [n as u8 + 100; 64] },
        store: StoreId(n as u64),
    };
    (0..count).map(one).collect()
}

pub(crate) fn held(n: u64, day: Day) -> Held {
    Held::Box(Box::new(Kept { sealed: sealed(n, day), others: others(n as usize % 4), announced: n.is_multiple_of(2) }))
}

pub(crate) fn tombstone(n: u64, until: Day) -> Held {
    let tombstone =
        Tombstone { content: ContentHash([n as u8; 32]), until, secret: [7; 32], others: others(n as usize % 4) };
    Held::Tombstone(Box::new(tombstone))
}

pub(crate) fn waiting(n: u64, bucket: Day) -> Waiting {
    Waiting { tag: BoxTag::of(&id(n)), from: Tick(n as u32 % 5), bucket }
}

pub(crate) fn put(n: u64, day: Day) -> Change {
    Change::Hold { id: id(n), held: held(n, day), announce: None }
}

pub(crate) fn ack(n: u64, day: Day) -> Change {
    Change::Hold { id: id(n), held: tombstone(n, day), announce: None }
}

/// What a test that runs itself again as a child is given: the engine and the folder.
pub(crate) fn as_child() -> Option<(EngineName, std::path::PathBuf)> {
    let text = std::env::var(FOLDER).ok()?;
    let (engine, folder) = text.split_once(' ')?;
    Some((engine.parse().unwrap(), folder.into()))
}

/// Runs one test of this binary again, as a child. `before` are words of the shell.
pub(crate) fn child(test: &str, engine: EngineName, folder: &Path, before: &str) -> Child {
    let binary = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" --exact {test} --nocapture --test-threads 1")])
        .arg(binary)
        .env(FOLDER, format!("{engine} {}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What follows a word at the beginning of a line.
pub(crate) fn number(line: &str, word: &str) -> Option<u64> {
    line.strip_prefix(word)?.trim().parse().ok()
}
