//! Who is whose contact, and what people say to each other: conversations that come and go, some texts in a row, an answer after
//! reading and thinking.

use super::setup::Habits;
use rand::{Rng, seq::SliceRandom};
use std::time::Duration;
use veilpost_packet::random::{EngineRng, exponential, geometric};

/// Draws of one contact before a person is content with fewer.
const TRIES: usize = 32;

/// Contacts of each person, both ways. A circle of friends has twice as many people as one has contacts.
pub(super) fn befriend(habits: &Habits, people: usize, rng: &mut EngineRng) -> Vec<Vec<u32>> {
    let mut order: Vec<usize> = (0..people).collect();
    order.shuffle(rng);
    let size = (2 * habits.contacts).max(2).min(people);
    let mut contacts: Vec<Vec<u32>> = vec![Vec::new(); people];
    for (place, person) in order.iter().enumerate() {
        let from = (place / size * size).min(people - size);
        for _ in 0..TRIES * habits.contacts {
            if contacts.get(*person).is_none_or(|known| known.len() >= habits.contacts) {
                break;
            }
            let near = rng.random_bool(habits.circle);
            let other = if near { from + rng.random_range(0..size) } else { rng.random_range(0..people) };
            let Some(other) = order.get(other).copied().filter(|other| other != person) else { continue };
            meet(&mut contacts, *person, other);
        }
    }
    contacts
}

fn meet(contacts: &mut [Vec<u32>], one: usize, other: usize) {
    for (who, whom) in [(one, other), (other, one)] {
        let whom = u32::try_from(whom).unwrap_or(u32::MAX);
        if let Some(known) = contacts.get_mut(who).filter(|known| !known.contains(&whom)) {
            known.push(whom);
        }
    }
}

/// What an hour holds `per_hour` of: the time to the next. `None` for none.
pub(super) fn next(per_hour: f64, rng: &mut EngineRng) -> Option<Duration> {
    (per_hour > 0.0).then(|| exponential(rng, Duration::from_secs_f64(3_600.0 / per_hour)))
}

/// Some time with this mean, in seconds.
pub(super) fn some(mean: f64, rng: &mut EngineRng) -> Duration {
    exponential(rng, Duration::from_secs_f64(mean))
}

/// A number with this mean, above zero.
pub(super) fn at_least_one(mean: f64, rng: &mut EngineRng) -> u32 {
    1 + geometric(rng, (mean - 1.0).max(0.0))
}
