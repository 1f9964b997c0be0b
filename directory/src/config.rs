//! An authority's configuration.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use veilpost_daemon::{
    config::{self, ConfigError},
    logs,
    stop::Failure,
};
use veilpost_pki::{Params, Schedule, params::is_duration};

/// An authority's configuration file. Relative paths start at its folder.
///
/// ```toml
/// data_dir = "data"
/// listen = "0.0.0.0:4400"
/// network = "network.toml"
/// nodes = "nodes.toml"            # the nodes that you admit; read again when it changes
/// handovers = "handovers"         # folder of signed hand-overs; read again when it changes
/// http = "127.0.0.1:8400"         # status page and document, optional
/// metrics = "127.0.0.1:9400"      # optional
/// log = "info"
/// [params]                        # what you vote for, where it differs from the defaults
/// box_days = 20
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keys, and what was said in voting rounds.
    pub data_dir: PathBuf,
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// The address that others reach this authority at; `listen` if absent.
    #[serde(default)]
    pub advertise: Option<SocketAddr>,
    /// The network file.
    pub network: PathBuf,
    /// The nodes that this operator admits.
    pub nodes: PathBuf,
    /// Folder of signed hand-overs.
    #[serde(default = "handovers")]
    pub handovers: PathBuf,
    /// Where the status page and the document are served over plain HTTP. They are public; a reverse proxy may add TLS.
    #[serde(default)]
    pub http: Option<SocketAddr>,
    /// Where `/metrics` is served, loopback only.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// What to log.
    #[serde(default = "info")]
    pub log: String,
    /// Parameters to vote for where they differ from the defaults: durations in milliseconds, and plain numbers. `speed` divides
    /// all default means and periods, for test networks.
    #[serde(default)]
    pub params: BTreeMap<String, u64>,
}

fn info() -> String {
    "info".into()
}

fn handovers() -> PathBuf {
    "handovers".into()
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`Failure::Config`] with file, line and what to do.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let config: Self = config::load(path).map_err(Failure::config)?;
        config.resolve(path).map_err(Failure::config)
    }

    fn resolve(mut self, file: &Path) -> Result<Self, ConfigError> {
        let folder = file.parent().unwrap_or(Path::new(""));
        for path in [&mut self.data_dir, &mut self.network, &mut self.nodes, &mut self.handovers] {
            *path = folder.join(&path);
        }
        let wrong = |key, what: String| ConfigError::Value { path: file.into(), key, what };
        if self.advertised().ip().is_unspecified() || self.advertised().port() == 0 {
            return Err(wrong("advertise", "name the address and port at which others reach this authority".into()));
        }
        if self.metrics.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(wrong(
                "metrics",
                "metrics are served on a loopback address only, such as 127.0.0.1:9400".into(),
            ));
        }
        logs::parse(&self.log).map_err(|error| wrong("log", error.to_string()))?;
        // Only the epoch is not known yet: any good one shows whether the rest fits.
        let hourly = Schedule { genesis: 0, epoch_ms: 3_600_000, phase_ms: 1_000 };
        self.ballot_params(&hourly).map_err(|what| wrong("params", what))?;
        Ok(self)
    }

    /// Where others reach this authority.
    pub fn advertised(&self) -> SocketAddr {
        self.advertise.unwrap_or(self.listen)
    }

    /// The parameters that this operator votes for.
    ///
    /// # Errors
    /// Which one is unknown or out of range, in words.
    pub fn ballot_params(&self, schedule: &Schedule) -> Result<Params, String> {
        let speed = self.params.get("speed").copied().unwrap_or(1);
        let speed = u32::try_from(speed).map_err(|_| "speed is out of range")?;
        let defaults = if speed > 1 { Params::hurried(speed) } else { Params::standard() };
        let epoch = schedule.epoch();
        // A key outlives its epoch by half an epoch at most, or a short epoch's keys would pile up.
        let defaults = Params { epoch, key_grace: defaults.key_grace.min(epoch / 2), ..defaults };
        let mut values = defaults.values();
        for (name, value) in self.params.iter().filter(|(name, _)| *name != "speed") {
            let known = values.iter_mut().find(|(known, _)| known == name).filter(|(known, _)| *known != "epoch");
            let (_, old) = known.ok_or_else(|| match name.as_str() {
                "epoch" => "the epoch's length is the network file's".to_owned(),
                _ => format!("there is no parameter {name}"),
            })?;
            let micros = Duration::from_millis(*value).as_micros();
            *old = if is_duration(name) { u64::try_from(micros).unwrap_or(u64::MAX) } else { *value };
        }
        Params::from_values(&values).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "data_dir = \"data\"\nlisten = \"127.0.0.1:4400\"\nnetwork = \"network.toml\"\nnodes = \"nodes.toml\"\n";

    fn read(text: &str) -> Result<Config, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authority.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn parameters_are_named_in_milliseconds_and_the_rest_keeps_its_default() {
        let config = read(&format!("{GOOD}[params]\nhop_delay = 250\nbox_days = 20\n")).unwrap();
        let schedule = Schedule { genesis: 0, epoch_ms: 60_000, phase_ms: 1_000 };
        let params = config.ballot_params(&schedule).unwrap();
        assert_eq!((params.hop_delay, params.box_days), (Duration::from_millis(250), 20));
        assert_eq!((params.epoch, params.key_grace), (Duration::from_secs(60), Duration::from_secs(30)));
        assert_eq!(params.send_gap, Params::standard().send_gap);
    }

    #[test]
    fn unknown_parameters_and_values_out_of_range_are_refused_by_name() {
        for (line, word) in
            [("hop_dleay = 3", "hop_dleay"), ("put_slot = 65", "put_slot"), ("epoch = 60000", "network file")]
        {
            let error = read(&format!("{GOOD}[params]\n{line}\n")).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn addresses_that_nobody_can_reach_are_refused() {
        let unspecified = GOOD.replace("127.0.0.1:4400", "0.0.0.0:4400");
        assert!(read(&unspecified).is_err());
        assert!(read(&format!("{unspecified}advertise = \"192.0.2.1:4400\"\n")).is_ok());
        assert!(read(&format!("{GOOD}metrics = \"192.0.2.1:1\"\n")).is_err());
    }
}
