//! Why Tor cannot do it, in words for a person. Nothing in them names a peer's address.

/// Why Tor cannot be used, or an onion service not be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorError {
    /// The cargo feature is off.
    #[error("this program was built without Tor; take a released one, or build with `--features veilpost-onion/tor`")]
    NotBuilt,
    /// The network file has a table `[tor]` without authorities.
    #[error("this network has no Tor network, as its network file says")]
    NoNetwork,
    /// The network file or arti's settings.
    #[error("Tor's settings cannot be used: {0}")]
    Settings(String),
    /// A second process.
    #[error("another running program uses Tor's folder {0}; stop it first")]
    Locked(String),
    /// The disk.
    #[error("Tor's folder {folder} cannot be used: {error}")]
    Folder {
        /// Which.
        folder: String,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The computer's clock and Tor's directory do not agree.
    #[error("Tor's directory is not of this computer's time ({0}); set the clock")]
    Clock(String),
    /// It has not come yet. arti tries for ever, and does not tell a clock that is days off from relays that do not answer.
    #[error("Tor's directory has not come ({0}); check this computer's connection, and its clock")]
    NoDirectory(String),
    /// Relays do not answer.
    #[error("the Tor network cannot be reached ({0})")]
    Unreachable(String),
    /// What stands in a document is no onion address.
    #[error("that is not the address of an onion service")]
    Address,
    /// No descriptor: it was never published, or not for a long time.
    #[error("the onion service is not published: its node is down, or new")]
    NoSuchService,
    /// A descriptor, and nobody behind it.
    #[error("the onion service does not answer ({0})")]
    NoAnswer(String),
    /// Its last use ended while this one began.
    #[error("Tor is not used any more")]
    Closed,
    /// Too long.
    #[error("Tor took too long")]
    Deadline,
    /// A service cannot be published.
    #[error("the onion service cannot be published: {0}")]
    Publish(String),
}
