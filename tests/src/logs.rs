//! Looking through logs for what they must not tell.

use std::path::{Path, PathBuf};
use veilpost_client::store::{Store, StoreError};

/// Bytes that tell something about a person, with what they are.
pub type Private = (&'static str, Vec<u8>);

/// Of ids so much is enough to be found in a short log that is the same each time: as much as the short form of a public id shows.
pub const SHORT: usize = 4;
/// In long logs that are never the same, so that nothing is found by chance.
pub const LONG: usize = 6;

/// Alphabets of base32: of RFC 4648, its hex form, and Crockford's.
const BASE32: [&str; 3] =
    ["abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdefghijklmnopqrstuv", "0123456789abcdefghjkmnpqrstvwxyz"];

/// Columns of a client's store that tell something about a person.
const COLUMNS: [(&str, &str); 14] = [
    ("account", "identity"),
    ("contacts", "peer_identity"),
    ("prekey_sets", "one_time"),
    ("prekey_sets", "signed"),
    ("prekey_sets", "kyber"),
    ("sessions", "record"),
    ("messages", "uuid"),
    ("streams", "write_cap"),
    ("streams", "read_cap"),
    ("outbox", "sealed"),
    ("outbox", "renewal"),
    ("fetches", "box_id"),
    ("fetches", "ack_secret"),
    ("faults", "box_id"),
];

/// Keys, secrets and ids in a client's store.
///
/// # Errors
/// The store's.
pub fn private(store: &Store) -> Result<Vec<Private>, StoreError> {
    let mut all = Vec::new();
    for (table, column) in COLUMNS {
        let sql = format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE length({column}) >= 16");
        let mut statement = store.connection().prepare(&sql)?;
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        for bytes in rows {
            all.push((column, bytes?));
        }
    }
    Ok(all)
}

/// How bytes may stand in a log: the beginnings of their forms, of `depth` bytes or a few more, so that what is cut short is found
/// too. Without white space and in small letters.
pub fn forms(bytes: &[u8], depth: usize) -> Vec<String> {
    let hex: String = bytes.iter().take(depth).map(|byte| format!("{byte:02x}")).collect();
    let list =
        |each: &dyn Fn(&u8) -> String| bytes.iter().take(depth.max(LONG)).map(each).collect::<Vec<_>>().join(",");
    let lists =
        [list(&|byte| byte.to_string()), list(&|byte| format!("{byte:x}")), list(&|byte| format!("{byte:02x}"))];
    // Eight letters of base32 are five bytes.
    let whole = bytes.get(..depth.next_multiple_of(5));
    let letters = whole.into_iter().flat_map(|bytes| BASE32.map(|alphabet| base32(bytes, alphabet.as_bytes())));
    std::iter::once(hex).chain(lists).chain(letters).collect()
}

fn base32(bytes: &[u8], alphabet: &[u8]) -> String {
    let number = |five: &[u8]| five.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let groups = bytes.chunks(5).map(number).flat_map(|number| (0..8).rev().map(move |at| number >> (5 * at) & 31));
    groups.filter_map(|digit| alphabet.get(usize::try_from(digit).ok()?)).map(|letter| char::from(*letter)).collect()
}

/// What of all this stands in a log.
pub fn told(log: &str, private: &[Private], depth: usize) -> Vec<String> {
    let log = log.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_lowercase();
    let stands = |(_, bytes): &&Private| forms(bytes, depth).iter().any(|form| log.contains(form));
    private.iter().filter(stands).map(|(what, bytes)| format!("{what} {:02x?}", bytes.get(..SHORT))).collect()
}

/// The log files of all processes below a folder.
///
/// # Errors
/// If a folder cannot be read.
pub fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.file_name().is_some_and(|name| name == "log" || name == "daemon.log") {
            found.push(path);
        }
    }
    Ok(found)
}
