//! Profiles: how much traffic a client makes, as its user chose. Each is an anonymity set of its own.

use crate::codec::{DecodeError, Result};

/// How fast a client's clocks run, both ways. Its entry is told, since the entry's clock is half of it, and everyone who watches
/// the client's line can see it: a client hides among those of the same profile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Profile {
    /// The rates of the network document.
    #[default]
    Standard = 0,
    /// Slower, by a factor of the network document, for lines that are paid by volume.
    Metered = 1,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Metered];

    /// The name that people and scripts use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Metered => "metered",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// From its number on the wire.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for one that this version does not know.
    pub fn from_byte(byte: u8) -> Result<Self> {
        Self::ALL.into_iter().find(|profile| *profile as u8 == byte).ok_or(DecodeError::Invalid("profile"))
    }
}
