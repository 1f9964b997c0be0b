//! Where the account is, what opens it, and where its daemon listens.

use super::{args::Args, error::CliError};
use crate::{
    api::{client::Client, server::SocketPlaces},
    store::{KeySource, Passphrase},
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// What a command takes from the process that runs it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `$VEILPOST_HOME`.
    pub veilpost_home: Option<PathBuf>,
    /// `$HOME`.
    pub user_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// The folder for temporary files.
    pub temp_dir: PathBuf,
    /// `$USER`.
    pub user: Option<String>,
    /// `$VEILPOST_LOG`: a level (`info`), or directives as `tracing-subscriber` reads them.
    pub log: Option<String>,
}

impl Surroundings {
    /// As this process has them.
    pub fn of_process() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            veilpost_home: path("VEILPOST_HOME"),
            user_home: path("HOME"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            temp_dir: std::env::temp_dir(),
            user: std::env::var("USER").ok(),
            log: std::env::var("VEILPOST_LOG").ok(),
        }
    }
}

/// The account that a command is about.
#[derive(Debug)]
pub(super) struct Home {
    /// Its folder, absolute and without links, so that all commands agree on the socket and on the keychain's entry.
    pub(super) dir: PathBuf,
    /// `--passphrase-file`.
    pub(super) passphrase_file: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    temp_dir: PathBuf,
}

impl Home {
    pub(super) fn find(args: &Args, surroundings: &Surroundings) -> Result<Self, CliError> {
        let default = || surroundings.user_home.as_ref().map(|home| home.join(".local/share/veilpost"));
        let dir = args.home.clone().or_else(|| surroundings.veilpost_home.clone()).or_else(default);
        let dir = dir.ok_or_else(|| CliError::usage("there is no $HOME; say where the account is with --home DIR"))?;
        let dir = std::path::absolute(&dir).map_err(|_| CliError::usage("--home names no folder"))?;
        Ok(Self {
            dir: resolve(&dir),
            passphrase_file: args.passphrase_file.clone(),
            runtime_dir: surroundings.runtime_dir.clone(),
            temp_dir: surroundings.temp_dir.clone(),
        })
    }

    pub(super) fn sockets(&self) -> SocketPlaces {
        SocketPlaces { home: self.dir.clone(), runtime_dir: self.runtime_dir.clone(), temp_dir: self.temp_dir.clone() }
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.sockets().socket())
    }

    /// The passphrase, if a file with it was named; else the keychain's entry for this folder.
    pub(super) fn key_source(&self) -> Result<KeySource, CliError> {
        let Some(file) = &self.passphrase_file else {
            let digest = Sha256::digest(self.dir.as_os_str().as_bytes());
            let user = data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default());
            return Ok(KeySource::Keychain { service: "veilpost".to_owned(), user });
        };
        let bytes = read_bounded(file, PASSPHRASE_MAX)?;
        let passphrase = Passphrase::new(bytes);
        let empty = || CliError::usage(format!("{} is empty; write the passphrase into it", file.display()));
        passphrase.map(KeySource::Passphrase).ok_or_else(empty)
    }
}

/// The path without links, as far as it exists: `init` runs before the folder does.
fn resolve(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    match known.map(|(ancestor, real)| (path.strip_prefix(ancestor), real)) {
        // Joining nothing would add a slash.
        Some((Ok(rest), real)) if rest.as_os_str().is_empty() => real,
        Some((Ok(rest), real)) => real.join(rest),
        _ => path.to_path_buf(),
    }
}

/// Bytes of a passphrase file.
const PASSPHRASE_MAX: u64 = 4_096;

/// A file that an argument names, whole, if it has at most `bound` bytes.
pub(super) fn read_bounded(path: &Path, bound: u64) -> Result<Vec<u8>, CliError> {
    let told = |error: std::io::Error| CliError::usage(format!("cannot read {}: {error}", path.display()));
    let file = fs::File::open(path).map_err(told)?;
    if file.metadata().map_err(told)?.is_dir() {
        return Err(CliError::usage(format!("{} is a folder, not a file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(bound.saturating_add(1)).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > bound {
        let message = format!("{} is larger than {}", path.display(), super::output::size(bound));
        return Err(CliError::refused(message));
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_home_behind_a_link_has_one_name_before_and_after_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let before = resolve(&link.join("a/b"));
        fs::create_dir_all(link.join("a/b")).unwrap();
        assert_eq!(before, real.join("a/b"));
        assert_eq!(resolve(&link.join("a/b")), before);
    }
}
