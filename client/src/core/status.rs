//! What a person sees of the engine, and what a log says of its backlog: numbers.

use super::{Core, CoreError, Status, WARNING, work::UNRECEIPTED_MAX};
use crate::store::{contacts, messages, restarts, streams::StreamId, successors};
use std::time::Duration;
use veilpost_packet::time::Timestamp;

/// How long a conversation that began anew is shown.
const RESTART_SHOWN: Duration = Duration::from_secs(7 * 86_400);

impl Core {
    /// What a person sees.
    ///
    /// # Errors
    /// The store's.
    pub fn status(&self, now: Timestamp) -> Result<Status, CoreError> {
        let mut warnings = Vec::new();
        warnings.extend(self.document_warnings(now));
        if let Some((_, why)) = self.refused_document.as_ref().filter(|(at, _)| now.since(*at) < WARNING) {
            warnings.push(format!("a network document of the entry was refused: {why}"));
        }
        let recently = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) < WARNING);
        if recently(self.mailbox_full) {
            warnings.push("a mailbox is full; messages are tried again until there is room".to_owned());
        }
        if recently(self.other_document) {
            warnings.push(
                "a mailbox works by another network document than this client: the entry may be lying".to_owned(),
            );
        }
        if recently(self.refused) {
            warnings.push("a mailbox refused a message, which is tried again; check this computer's clock".to_owned());
        }
        if recently(self.conflict) {
            warnings.push(
                "a mailbox holds something else in place of a message of yours, which is tried again; if this account \
                 was restored from a backup, its conversations begin anew by themselves"
                    .to_owned(),
            );
        }
        if recently(self.clock_slow) {
            warnings.push("this computer's clock is slow: set it right, or messages will not be found".to_owned());
        }
        warnings.extend(self.transport_warning());
        warnings.extend(self.clock_warning(now));
        warnings.extend(self.entry_warning(now));
        warnings.extend(self.audit_warnings(now)?);
        for name in restarts::since(self.store.connection(), now - RESTART_SHOWN)? {
            warnings.push(format!(
                "the conversation with {name} began anew under new keys, because one of you was restored from a backup; \
                 if neither was, compare safety numbers and tell each other"
            ));
        }
        for (contact, count) in successors::waiting_contacts(self.store.connection())? {
            let name = contacts::by_id(self.store.connection(), contact)?.name;
            warnings.push(format!(
                "{count} of your messages wait until {name}'s device has confirmed earlier ones: {UNRECEIPTED_MAX} boxes \
                 may be unconfirmed at a time"
            ));
        }
        if self.tracker.gaps() > 0 {
            warnings.push("some digests are missing and have been asked for; messages may be late".to_owned());
        }
        Ok(Status {
            connected: self.connection.as_ref().is_some_and(|connection| connection.clocks.is_some()),
            epoch: self.document.as_ref().map(|document| document.epoch.0),
            profile: self.profile_in_use(),
            next_profile: self.next_profile(),
            transport: self.transport_in_use(),
            queued: messages::queued(self.store.connection())?,
            warnings,
        })
    }

    /// What waits, in numbers.
    pub(super) fn log_backlog(&self, now: Timestamp) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let real = |stream: &StreamId| self.decoys != Some(*stream);
        let fetches = || self.fetches.values().filter(|fetch| real(&fetch.key.stream) && fetch.seen.is_some());
        let named = fetches().filter(|fetch| fetch.retry.asked == 0 && fetch.due.is_some_and(|due| due > now)).count();
        let asked = fetches().filter(|fetch| fetch.retry.asked > 0).count();
        let unsent = self.outbox.values().filter(|out| real(&out.stream) && out.retry.sends == 0).count();
        let unstored = self.outbox.values().filter(|out| real(&out.stream) && !out.retry.stored).count();
        let latest = fetches().filter_map(|fetch| fetch.retry.next.or(fetch.due)).max();
        tracing::debug!(
            gaps = self.tracker.gaps(),
            fetches = fetches().count(),
            late = named,
            asked,
            latest = latest.map_or(0, |latest| latest.since(now).as_secs()),
            unsent,
            unstored,
            counters = ?self.counters,
            "backlog"
        );
    }
}
