//! The file `key` beside the database: the database's random key, wrapped.
//!
//! The database key is 32 random bytes that never change. They are wrapped with AES-256-GCM-SIV under a key that comes from
//! the system keychain or, by Argon2id, from a passphrase. So a wrong passphrase (the AEAD refuses) and a damaged database
//! (SQLCipher refuses a right key) are told apart, and changing a passphrase rewrites a hundred bytes.
//!
//! ```text
//! "VPKY"  version u8  kind u8  memory KiB u32  passes u32  lanes u32  salt 16  nonce 12  wrapped 48  checksum 8
//! ```
//! Everything before `wrapped` is the AEAD's associated data. The checksum (first bytes of a SHA-256 over the rest) only
//! tells damage from a wrong passphrase; it protects nothing.

use super::{StoreError, error::io, keychain};
use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use std::{fmt, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};
use veilpost_packet::{
    codec::{DecodeError, Reader, Writer},
    random::{self, EngineRng},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A secret of 32 bytes. Wiped on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Key(pub(super) [u8; 32]);

/// A passphrase as its owner typed it. Wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Passphrase(Vec<u8>);

impl Passphrase {
    /// From the bytes of a file or a prompt; one line end at the end is not part of it. `None` if nothing is left.
    pub fn new(mut bytes: Vec<u8>) -> Option<Self> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if bytes.is_empty() { None } else { Some(Self(bytes)) }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Where the key comes from that wraps the database's key.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Argon2id of this passphrase.
    Passphrase(Passphrase),
    /// 32 random bytes in the system keychain. Its calls block: use it from a thread that may.
    Keychain {
        /// The application's name in the keychain.
        service: String,
        /// Which account: one home folder, one name.
        user: String,
    },
}

/// Which source a home folder was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A passphrase.
    Passphrase,
    /// The system keychain.
    Keychain,
}

/// Which source the key file at `path` asks for.
pub(super) fn kind_of(path: &Path) -> Result<KeyKind, StoreError> {
    Ok(read(path)?.header.kind)
}

/// Draws a database key, wraps it under `source` and writes the key file, synced and mode 0600.
pub(super) fn create(path: &Path, source: &KeySource, rng: &mut EngineRng) -> Result<Key, StoreError> {
    let header = Header {
        kind: match source {
            KeySource::Passphrase(_) => KeyKind::Passphrase,
            KeySource::Keychain { .. } => KeyKind::Keychain,
        },
        cost: Cost::DEFAULT,
        salt: random::bytes(rng),
        nonce: random::bytes(rng),
    };
    let wrapping = match source {
        KeySource::Passphrase(passphrase) => stretch(passphrase, &header)?,
        KeySource::Keychain { service, user } => {
            let key = Key(random::bytes(rng));
            keychain::put(service, user, &key)?;
            key
        }
    };
    let database = Key(random::bytes(rng));
    let aad = header.encode();
    let wrapped = cipher(&wrapping)
        .encrypt(Nonce::from_slice(&header.nonce), Payload { msg: &database.0, aad: &aad })
        .expect("AES-GCM-SIV encrypts any 32 bytes");
    let mut file = aad;
    file.extend_from_slice(&wrapped);
    file.extend_from_slice(&checksum(&file));
    write_new(path, &file)?;
    Ok(database)
}

/// Reads the key file and unwraps the database key.
pub(super) fn open(path: &Path, source: &KeySource) -> Result<Key, StoreError> {
    let KeyFile { header, wrapped } = read(path)?;
    let (wrapping, refused) = match (source, header.kind) {
        (KeySource::Passphrase(passphrase), KeyKind::Passphrase) => {
            (stretch(passphrase, &header)?, StoreError::WrongPassphrase)
        }
        (KeySource::Keychain { service, user }, KeyKind::Keychain) => {
            (keychain::get(service, user)?, StoreError::KeychainEntryWrong)
        }
        (KeySource::Passphrase(_), KeyKind::Keychain) => return Err(StoreError::KeychainNeeded),
        (KeySource::Keychain { .. }, KeyKind::Passphrase) => return Err(StoreError::PassphraseNeeded),
    };
    let opened =
        cipher(&wrapping).decrypt(Nonce::from_slice(&header.nonce), Payload { msg: &wrapped, aad: &header.encode() });
    let opened = Zeroizing::new(opened.map_err(|_| refused)?);
    Ok(Key(opened.as_slice().try_into().map_err(|_| StoreError::KeyFileDamaged(path.into()))?))
}

const MAGIC: [u8; 4] = *b"VPKY";
const VERSION: u8 = 1;
/// More is not a key file.
const MAX_FILE: u64 = 1_024;
const WRAPPED: usize = 48;
const CHECKSUM: usize = 8;

/// Argon2id's parameters, kept in the file so that they can be raised for new accounts.
#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// 64 MiB and three passes: an eighth of a second on a laptop, and RFC 9106's second recommendation.
    const DEFAULT: Cost = Cost { memory_kib: 64 * 1_024, passes: 3, lanes: 1 };

    /// Bounds on what a file may ask for, so that a damaged one cannot eat the machine: 1 GiB, 64 passes, 16 lanes.
    fn sane(self) -> bool {
        (8..=1_048_576).contains(&self.memory_kib) && (1..=64).contains(&self.passes) && (1..=16).contains(&self.lanes)
    }
}

struct Header {
    kind: KeyKind,
    cost: Cost,
    salt: [u8; 16],
    nonce: [u8; 12],
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(128);
        out.put(&MAGIC).u8(VERSION);
        out.u8(match self.kind {
            KeyKind::Passphrase => 1,
            KeyKind::Keychain => 2,
        });
        out.u32(self.cost.memory_kib).u32(self.cost.passes).u32(self.cost.lanes);
        out.put(&self.salt).put(&self.nonce);
        out.finish()
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.array()? != MAGIC || reader.u8()? != VERSION {
            return Err(DecodeError::Invalid("version"));
        }
        let kind = match reader.u8()? {
            1 => KeyKind::Passphrase,
            2 => KeyKind::Keychain,
            _ => return Err(DecodeError::Invalid("kind")),
        };
        let cost = Cost { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? };
        if !cost.sane() {
            return Err(DecodeError::Invalid("cost"));
        }
        Ok(Self { kind, cost, salt: reader.array()?, nonce: reader.array()? })
    }
}

struct KeyFile {
    header: Header,
    wrapped: [u8; WRAPPED],
}

fn read(path: &Path) -> Result<KeyFile, StoreError> {
    use std::io::Read as _;
    let file = fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => StoreError::KeyFileMissing(path.into()),
        _ => io("open", path)(error),
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(io("read", path))?;
    parse(&bytes).map_err(|_| StoreError::KeyFileDamaged(path.into()))
}

fn parse(bytes: &[u8]) -> Result<KeyFile, DecodeError> {
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(DecodeError::Truncated)?;
    if *sum != checksum(content) {
        return Err(DecodeError::Invalid("checksum"));
    }
    let mut reader = Reader::new(content);
    let file = KeyFile { header: Header::decode(&mut reader)?, wrapped: reader.array()? };
    reader.finish()?;
    Ok(file)
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let digest: [u8; 32] = Sha256::digest(content).into();
    let mut sum = [0; CHECKSUM];
    sum.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    sum
}

fn cipher(key: &Key) -> Aes256GcmSiv {
    Aes256GcmSiv::new(&key.0.into())
}

fn stretch(passphrase: &Passphrase, header: &Header) -> Result<Key, StoreError> {
    let Cost { memory_kib, passes, lanes } = header.cost;
    let parameters = argon2::Params::new(memory_kib, passes, lanes, Some(32)).expect("the cost was checked on reading");
    let mut key = Key([0; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters)
        .hash_password_into(&passphrase.0, &header.salt, &mut key.0)
        // Only a passphrase of 4 GiB or a broken parameter gets here.
        .map_err(|_| StoreError::WrongPassphrase)?;
    Ok(key)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    // Written aside and renamed: a key file is whole or absent, whenever the machine stops.
    let aside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .map_err(io("create", &aside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", &aside))?;
    fs::rename(&aside, path).map_err(io("rename", &aside))?;
    super::sync_dir(path)
}
