//! Logs: to standard error, at the level that the configuration names. No crate of the project writes an id, a key or an
//! address above debug, and nothing per packet or per user at info.

use tracing_subscriber::EnvFilter;

/// A level that is not one.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a log level: write error, warn, info or debug, or levels by module as in \"info,quinn=warn\"")]
pub struct NotALevel {
    text: String,
}

/// Reads the text of a level.
///
/// # Errors
/// [`NotALevel`], in words for an operator.
pub fn parse(text: &str) -> Result<EnvFilter, NotALevel> {
    EnvFilter::try_new(format!("{},{text}", veilpost_onion::LOG)).map_err(|_| NotALevel { text: text.into() })
}

/// Starts logging. A second call changes nothing.
///
/// # Errors
/// [`NotALevel`].
pub fn start(level: &str) -> Result<(), NotALevel> {
    let filter = parse(level)?;
    // Fails only if a subscriber is set already, as in tests that start several nodes in one process.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .try_init();
    Ok(())
}
