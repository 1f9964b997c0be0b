//! How a client reaches the network, and who learns what by it. The engine's boxes, clocks and decoys are the same on all of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A way to the network.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Through the mixes, from this computer's address
    #[default]
    Mixnet,
    /// Through the mixes, without showing this computer's address to an entry
    MixnetOverTor,
    /// To mailboxes through Tor alone: faster, and weaker against who watches lines
    Tor,
}

impl Transport {
    /// All, as they are shown.
    pub const ALL: [Self; 3] = [Self::Mixnet, Self::MixnetOverTor, Self::Tor];

    /// Its name in commands and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mixnet => "mixnet",
            Self::MixnetOverTor => "mixnet-over-tor",
            Self::Tor => "tor",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }

    /// True if nothing of it goes by any other way than Tor.
    pub fn needs_tor(self) -> bool {
        self != Self::Mixnet
    }

    /// True if commands go to mailboxes without mixes.
    pub fn is_direct(self) -> bool {
        self == Self::Tor
    }

    /// Who learns what, in the order in which it should be read: the table of THREAT_MODEL.md.
    pub fn who_learns_what(self) -> [(&'static str, &'static str); 5] {
        match self {
            Self::Mixnet => [
                ("your provider", "that you use Veilpost, and which entry; not whether you write"),
                ("the entry", "your address; not whether, to whom or how much you write"),
                ("mixes", "nothing of you alone; all three of a path together, who asks which mailbox"),
                ("mailboxes", "sealed boxes among decoys, from nobody they know"),
                ("who watches all lines", "little while many are online: see what was measured"),
            ],
            Self::MixnetOverTor => [
                ("your provider", "that you use Tor, at a rate that may tell Veilpost; not which entry"),
                ("the entry", "somebody behind Tor; no address"),
                ("mixes", "as with mixnet, without your address at the end of it"),
                ("mailboxes", "sealed boxes among decoys, from nobody they know"),
                ("who watches all lines", "by timing, which entry is yours; from there on as with mixnet"),
            ],
            Self::Tor => [
                ("your provider", "that you use Tor, at a rate that may tell Veilpost"),
                ("the entry", "that somebody behind Tor reads digests and sends no packets"),
                ("mixes", "nothing: you send them none"),
                (
                    "mailboxes",
                    "sealed boxes among decoys, each over a circuit of its own; when each was asked for, to the second",
                ),
                (
                    "who watches all lines",
                    "by timing, which mailbox you ask when: nothing is mixed, one is enough to see both ends",
                ),
            ],
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_transport_comes_back_from_its_name_and_only_mixnet_needs_no_tor() {
        for transport in Transport::ALL {
            assert_eq!(Transport::from_name(transport.name()), Some(transport));
            assert_eq!(transport.needs_tor(), transport != Transport::default());
        }
        assert_eq!(Transport::from_name("Tor"), None);
    }
}
