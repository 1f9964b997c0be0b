//! The log: standard error, `info` unless `VEILPOST_LOG` says more.
//!
//! At info nothing per message, contact or path is written. The session library writes addresses and keys through the `log`
//! crate at info and above, so its targets stay off whatever the filter says.

use crate::signal::SILENT_TARGETS;
use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Starts the log of this process, once; later calls change nothing.
pub(super) fn start(filter: Option<&str>) {
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let _ = tracing_subscriber::registry().with(directives(filter)).with(filter_fn(is_shown)).with(lines).try_init();
}

fn directives(filter: Option<&str>) -> EnvFilter {
    let with = |filter: &str| format!("{},{filter}", veilpost_onion::LOG);
    EnvFilter::try_new(with(filter.unwrap_or("info"))).unwrap_or_else(|_| EnvFilter::new(with("info")))
}

fn is_shown(metadata: &tracing::Metadata<'_>) -> bool {
    !SILENT_TARGETS.iter().any(|silent| metadata.target().starts_with(silent))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_session_librarys_log_stays_off_whatever_is_asked() {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = tracing_subscriber::registry()
            .with(directives(Some("trace,libsignal_protocol_syft=trace")))
            .with(filter_fn(is_shown))
            .with(fmt::layer().with_ansi(false).with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "libsignal_protocol_syft::session_cipher", "address and key");
            tracing::warn!(target: "libsignal_core", "key");
            tracing::info!("what people may read");
        });
        let shown = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert!(shown.contains("what people may read"));
        assert!(!shown.contains("key"));
    }
}
