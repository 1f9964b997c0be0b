//! A client whose replies stay away leaves its entry, if the entry is the likeliest cause (`watch`), and says so.
//!
//! Nothing else follows: packets leave by their clocks as before, and routes are drawn as before. Guards bound how often an entry is
//! left, whatever the cause.

use super::{Core, watch::Watch};
use std::time::Duration;
use veilpost_packet::{
    ids::{NodeId, SurbId},
    time::Timestamp,
};
use veilpost_pki::Params;

/// If replies stay away from the next entry as well, within so long, it was not the entry: the network is in trouble, or whoever
/// drops packets does so behind both.
const SAME_TROUBLE: Duration = Duration::from_secs(86_400);
/// How long it is told.
const TOLD: Duration = Duration::from_secs(86_400);

/// What was done about an entry whose replies stayed away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Another one is used from now on.
    Left,
    /// The one before was left for the same reason.
    SameTrouble,
    /// No change is left this month, or there is no other entry.
    Stays,
}

/// What the client knows of its entry by its own commands.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// What became of the commands that it was given.
    watch: Option<Watch>,
    /// The entry that is to be left.
    leave: Option<NodeId>,
    /// When an entry was left.
    left: Option<Timestamp>,
    alarm: Option<(Timestamp, f64, Outcome)>,
}

impl Suspicion {
    /// Commands go through this entry from now on.
    pub(super) fn handle_connected(&mut self, entry: NodeId) {
        self.leave = None;
        if self.watch.as_ref().is_none_or(|watch| watch.entry() != entry) {
            self.watch = Some(Watch::new(entry));
        }
    }

    /// Replies that did not come yet do not come any more, which says nothing.
    pub(super) fn handle_disconnected(&mut self) {
        self.leave = None;
        if let Some(watch) = &mut self.watch {
            watch.forget_waiting();
        }
    }

    /// A command leaves on this way, there and back.
    pub(super) fn handle_sent(&mut self, now: Timestamp, id: SurbId, nodes: &[NodeId]) {
        if let Some(watch) = &mut self.watch {
            watch.handle_sent(now, id, nodes);
        }
    }

    /// Its reply came.
    pub(super) fn handle_returned(&mut self, now: Timestamp, id: &SurbId) {
        if let Some(watch) = &mut self.watch {
            watch.handle_returned(now, id);
        }
    }

    /// All that is known of this entry is used up, or its times mean nothing any more since the computer's clock was set.
    pub(super) fn begin_anew(&mut self) {
        self.watch = self.watch.take().map(|watch| Watch::new(watch.entry()));
    }

    /// True if the client must not stay with this entry.
    pub(super) fn must_leave(&self, entry: &NodeId) -> bool {
        self.leave == Some(*entry)
    }
}

impl Core {
    /// Looks whether too many replies stay away because of the entry, and leaves it if so.
    pub(super) fn watch_entry(&mut self, now: Timestamp, params: &Params) {
        let Some(connection) = self.connection.as_ref().filter(|connection| connection.clocks.is_some()) else {
            return;
        };
        let Some(entry) = connection.entry else { return };
        let rates = params.rates(connection.profile);
        if self.suspicion.must_leave(&entry) {
            return;
        }
        let Some(lost) = self.suspicion.watch.as_mut().and_then(|watch| watch.look(now, &rates)) else { return };
        let same = self.suspicion.left.is_some_and(|left| now.since(left) < params.hurry(SAME_TROUBLE));
        let outcome = if same {
            Outcome::SameTrouble
        } else if self.leave_guard(now, &entry) {
            (self.suspicion.leave, self.suspicion.left) = (Some(entry), Some(now));
            Outcome::Left
        } else {
            Outcome::Stays
        };
        tracing::warn!(
            percent = (lost * 100.0).round(),
            ?outcome,
            "replies stay away, most likely because of the entry"
        );
        self.suspicion.alarm = Some((now, lost, outcome));
        // What has led to this is used up, or the next look would say it again.
        self.suspicion.begin_anew();
    }

    /// What a person should know of the entry.
    pub(super) fn entry_warning(&self, now: Timestamp) -> Option<String> {
        let (at, lost, outcome) = self.suspicion.alarm?;
        let told = self.document.as_ref().map_or(TOLD, |document| document.params.hurry(TOLD));
        if now.since(at) >= told {
            return None;
        }
        let percent = (lost * 100.0).round();
        let then = match outcome {
            Outcome::Left => "this client has moved to another entry",
            Outcome::SameTrouble => {
                "the entry before it was left for the same reason, so the trouble may lie behind both, and this client stays"
            }
            Outcome::Stays => {
                "this client stays, since there is no other entry or it has changed entries twice within a month"
            }
        };
        Some(format!(
            "no reply came to {percent} % of what this client sent, whatever its way: a possible n-1 attack, or a broken entry; {then}"
        ))
    }
}
