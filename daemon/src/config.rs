//! Configuration files: TOML, every key known, every error with file, line and what to do.

use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {error}; give the path of an existing file with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// It is not what it should be. The message of the TOML library names line and column and shows the line.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        error: Box<toml::de::Error>,
    },
    /// A value is out of its range or does not fit another.
    #[error("{}: {key}: {what}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: &'static str,
        /// What is wrong and what to do.
        what: String,
    },
}

/// Reads a TOML file. Callers' types carry `#[serde(deny_unknown_fields)]`: a misspelt key must be an error, or it would
/// silently mean the default.
///
/// # Errors
/// [`ConfigError`].
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.into(), error })?;
    toml::from_str(&text).map_err(|error| ConfigError::Syntax { path: path.into(), error: Box::new(error) })
}

/// The `[node]` table of every relay's configuration. Relative paths start at the configuration file's folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Where keys, tag logs and the descriptor live. Made on `init`.
    pub data_dir: PathBuf,
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// Addresses that the descriptor tells others; `listen` if empty, which then must not be 0.0.0.0 or port 0.
    #[serde(default)]
    pub advertise: Vec<SocketAddr>,
    /// The network file with the authorities' keys.
    pub network: PathBuf,
    /// A file with a signed network document, instead of the authorities': for networks without live authorities, such as those
    /// of benchmarks. It is read again when it changes.
    #[serde(default)]
    pub document: Option<PathBuf>,
    /// Where `/metrics` is served, loopback only; not served if absent.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// What to log: `error`, `warn`, `info`, `debug`, or per module as in `info,quinn=warn`.
    #[serde(default = "info")]
    pub log: String,
    /// The operator's family name: nodes of one family never share a route. Empty: none.
    #[serde(default)]
    pub family: String,
    /// Packets a second that the node is willing to carry, 1 to 1,000,000.
    #[serde(default = "capacity")]
    pub capacity: u32,
    /// True for an onion service, through which clients come that show no address: entries and mailboxes may have one.
    #[serde(default)]
    pub onion: bool,
    /// A file with settings of arti's own for it, such as bridges.
    #[serde(default)]
    pub tor_settings: Option<PathBuf>,
}

fn info() -> String {
    "info".into()
}

fn capacity() -> u32 {
    1_000
}

impl NodeConfig {
    /// Makes relative paths absolute and checks every value, so that `check-config` finds what `run` would.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the first value that is wrong.
    pub fn resolve(mut self, file: &Path) -> Result<Self, ConfigError> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let optional = self.document.iter_mut().chain(&mut self.tor_settings);
        for path in [&mut self.data_dir, &mut self.network].into_iter().chain(optional) {
            *path = folder.join(&path);
        }
        let wrong = |key, what: &str| ConfigError::Value { path: file.into(), key, what: what.into() };
        if self.advertise.len() > veilpost_pki::descriptor::ADDRESSES_MAX {
            return Err(wrong("node.advertise", "a node lists at most 4 addresses"));
        }
        if self.advertised().iter().any(|address| address.ip().is_unspecified() || address.port() == 0) {
            return Err(wrong("node.advertise", "name the address and port at which others reach this node"));
        }
        if self.metrics.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(wrong("node.metrics", "metrics are served on a loopback address only, such as 127.0.0.1:9100"));
        }
        if !(1..=1_000_000).contains(&self.capacity) {
            return Err(wrong("node.capacity", "must be between 1 and 1000000 packets a second"));
        }
        if self.family.len() > veilpost_pki::descriptor::WORD_MAX {
            return Err(wrong("node.family", "must have at most 80 bytes"));
        }
        crate::logs::parse(&self.log).map_err(|error| wrong("node.log", &error.to_string()))?;
        Ok(self)
    }

    /// Nothing but what has no default, in this folder: for tests.
    #[cfg(test)]
    pub(crate) fn plain(folder: &Path) -> Self {
        Self {
            data_dir: folder.join("data"),
            listen: "127.0.0.1:4001".parse().unwrap(),
            advertise: Vec::new(),
            network: folder.join("network.toml"),
            document: None,
            metrics: None,
            log: info(),
            family: String::new(),
            capacity: capacity(),
            onion: false,
            tor_settings: None,
        }
    }

    /// What the descriptor tells others.
    pub fn advertised(&self) -> Vec<SocketAddr> {
        if self.advertise.is_empty() { vec![self.listen] } else { self.advertise.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        node: NodeConfig,
    }

    const GOOD: &str = r#"
        [node]
        data_dir = "data"
        listen = "127.0.0.1:4001"
        network = "network.toml"
        document = "/srv/document"
    "#;

    fn read(text: &str) -> Result<NodeConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        fs::write(&path, text).unwrap();
        load::<File>(&path)?.node.resolve(Path::new("/etc/veilpost/node.toml"))
    }

    #[test]
    fn paths_start_at_the_files_folder_and_defaults_are_filled_in() {
        let config = read(GOOD).unwrap();
        assert_eq!(config.data_dir, Path::new("/etc/veilpost/data"));
        assert_eq!(config.document.as_deref(), Some(Path::new("/srv/document")));
        assert_eq!((config.log.as_str(), config.capacity), ("info", 1_000));
        assert_eq!(config.advertised(), [config.listen]);
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_key() {
        let error = read(&format!("{GOOD}\n        listne = 3\n")).unwrap_err().to_string();
        assert!(error.contains("node.toml") && error.contains("line 8") && error.contains("listne"), "{error}");
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let error = load::<File>(Path::new("/nowhere/node.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/node.toml") && error.contains("--config"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (line, key) in [
            ("metrics = \"192.0.2.1:9100\"", "node.metrics"),
            ("capacity = 0", "node.capacity"),
            ("capacity = 1000001", "node.capacity"),
            ("advertise = [\"0.0.0.0:4001\"]", "node.advertise"),
            ("advertise = [\"192.0.2.1:0\"]", "node.advertise"),
            ("log = \"no=such=level\"", "node.log"),
        ] {
            let error = read(&format!("{GOOD}\n{line}\n")).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
