//! How much traffic the person chose to make.
//!
//! A choice takes effect with the next connection. A rate that changed in the middle of a connection would mark the moment of the
//! choice for everyone on the line, and tie what is before to what is after; a connection that ended for its sake would do the same.
//! At a connection that begins anyway, for whatever reason, it marks nothing but itself.

use super::{Core, CoreError};
use crate::{
    cost::{self, Cost},
    store::meta,
};
use veilpost_packet::profile::Profile;

/// What a person chooses from.
#[derive(Clone, PartialEq, Debug)]
pub struct Offers {
    /// In use.
    pub profile: Profile,
    /// Chosen for the next connection, if that is another.
    pub next: Option<Profile>,
    /// What each costs; none before the first network document.
    pub costs: Vec<(Profile, Cost)>,
}

impl Core {
    /// The profile of this connection; without one, of the next.
    pub(super) fn profile_in_use(&self) -> Profile {
        self.connection.as_ref().map_or(self.profile, |connection| connection.profile)
    }

    pub(super) fn next_profile(&self) -> Option<Profile> {
        Some(self.profile).filter(|chosen| *chosen != self.profile_in_use())
    }

    /// The profiles and what they cost in this network.
    pub fn offers(&self) -> Offers {
        let params = self.document.as_ref().map(|document| &document.params);
        let cost = |params| Profile::ALL.map(|profile| (profile, cost::of(params, profile)));
        let costs = params.map(cost).into_iter().flatten().collect();
        Offers { profile: self.profile_in_use(), next: self.next_profile(), costs }
    }

    /// Chooses a profile, from the next connection on.
    ///
    /// # Errors
    /// The store's.
    pub fn set_profile(&mut self, profile: Profile) -> Result<(), CoreError> {
        self.store.transaction(|tx| meta::set_profile(tx, profile))?;
        self.profile = profile;
        Ok(())
    }
}
