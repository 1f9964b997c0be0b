//! Secrets on disk: one file of 64 hexadecimal digits each, mode 0600, made from the operating system's randomness.

use rand::TryRngCore;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use veilpost_packet::{ids::NodeId, primitives::Secret32};
use zeroize::Zeroizing;

/// Bytes of a key file: 64 digits and a line end.
const FILE_LENGTH: usize = 65;

/// A key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The file is not there.
    #[error("{} is missing: run `init` first, or restore the file from a backup", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others on this machine can read it.
    #[error("{} can be read by others (mode {mode:o}): run `chmod 600` on it, and consider its key stolen", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It does not hold a key.
    #[error("{} is not a key file: expected 64 hexadecimal digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    NoRandomness,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    move |error| KeyError::Io { path: path.into(), error }
}

/// 32 fresh secret bytes of the operating system.
///
/// # Errors
/// [`KeyError::NoRandomness`].
pub fn fresh() -> Result<Secret32, KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::rngs::OsRng.try_fill_bytes(bytes.as_mut()).map_err(|_| KeyError::NoRandomness)?;
    Ok(Secret32::new(*bytes))
}

/// Makes a folder that only its owner can enter, with its parents.
///
/// # Errors
/// [`KeyError::Io`].
pub fn make_folder(path: &Path) -> Result<(), KeyError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error(path))
}

/// Reads a key file.
///
/// # Errors
/// [`KeyError`]; the text tells an operator what to do.
pub fn read(path: &Path) -> Result<Secret32, KeyError> {
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { path: path.into() },
        _ => KeyError::Io { path: path.into(), error },
    })?;
    let mode = file.metadata().map_err(io_error(path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode });
    }
    // One byte more than a key file has, so that a longer one is noticed; the buffer never grows, so no copy is left behind.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_LENGTH + 1));
    Read::by_ref(&mut file).take(FILE_LENGTH as u64 + 1).read_to_end(&mut text).map_err(io_error(path))?;
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    parse(digits).ok_or_else(|| KeyError::Malformed { path: path.into() })
}

/// Reads a key file, or makes it if it is not there.
///
/// # Errors
/// [`KeyError`].
pub fn read_or_make(path: &Path) -> Result<Secret32, KeyError> {
    match read(path) {
        Err(KeyError::Missing { .. }) => {
            let secret = fresh()?;
            write(path, &secret)?;
            Ok(secret)
        }
        other => other,
    }
}

/// Writes a new key file, on disk when this returns; never overwrites.
///
/// # Errors
/// [`KeyError::Io`], also if the file exists.
pub fn write(path: &Path, secret: &Secret32) -> Result<(), KeyError> {
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_LENGTH));
    for byte in secret.expose() {
        for nibble in [byte >> 4, byte & 15] {
            text.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
        }
    }
    text.push(b'\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io_error(path))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(io_error(path))?;
    sync_folder(path)
}

/// Erases a key file as well as a file system lets us: overwritten, synced, removed. Copy-on-write file systems and flash
/// keep old blocks; full-disk encryption is the operator's answer to that. A missing file is fine.
///
/// # Errors
/// [`KeyError::Io`].
pub fn erase(path: &Path) -> Result<(), KeyError> {
    match OpenOptions::new().write(true).open(path) {
        Ok(mut file) => {
            let length = usize::try_from(file.metadata().map_err(io_error(path))?.len()).unwrap_or(0);
            let zeros = vec![0; length.min(4_096)];
            file.write_all(&zeros).and_then(|()| file.sync_all()).map_err(io_error(path))?;
            fs::remove_file(path).map_err(io_error(path))?;
            sync_folder(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(KeyError::Io { path: path.into(), error }),
    }
}

/// Writes a file that is public, whole or not at all.
///
/// # Errors
/// [`KeyError::Io`].
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial).map_err(io_error(&partial))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error(&partial))?;
    fs::rename(&partial, path).map_err(io_error(path))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), KeyError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error(folder))
}

/// The decoder of ids reads 64 digits as well as any; the intermediate copy is on the stack and wiped.
fn parse(digits: &[u8]) -> Option<Secret32> {
    let parsed: NodeId = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let bytes = Zeroizing::new(parsed.0);
    Some(Secret32::new(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let made = read_or_make(&path).unwrap();
        let again = read_or_make(&path).unwrap();
        assert!(made.ct_eq(again.expose()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(write(&path, &made).is_err(), "a key file is never overwritten");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        read_or_make(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { .. }) && error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn odd_key_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("short", "ab".repeat(31)), ("long", "ab".repeat(33)), ("words", "zz".repeat(32))] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(read(&path), Err(KeyError::Malformed { .. })), "{name}");
        }
        assert!(matches!(read(&folder.path().join("none")), Err(KeyError::Missing { .. })));
    }

    #[test]
    fn an_erased_key_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        read_or_make(&path).unwrap();
        erase(&path).unwrap();
        assert!(matches!(read(&path), Err(KeyError::Missing { .. })));
        erase(&path).unwrap();
    }
}
