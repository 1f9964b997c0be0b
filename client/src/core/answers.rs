//! What mailboxes answer to Puts.

use super::{Core, CoreError, evidence::Evidence, restarting::CONFLICT_EVERY};
use crate::store::{
    audits, beacons,
    messages::State,
    outbox::{self, OutboxId, Outgoing},
    restarts,
    streams::{self, StreamKind},
};
use veilpost_packet::{
    command::Answer,
    ids::{DocumentHash, NodeId},
    time::Timestamp,
};

impl Core {
    pub(super) fn handle_put_answer(
        &mut self,
        now: Timestamp,
        id: OutboxId,
        document: &DocumentHash,
        mailbox: NodeId,
        answer: Answer,
    ) -> Result<(), CoreError> {
        let Some(outgoing) = self.outbox.get(&id).cloned() else { return Ok(()) };
        match answer {
            Answer::Stored(signatures) => {
                // On fewer disks than the document asks for, whatever it is called: as if it were pending.
                if let Some(evidence) = self.evidence(document, &mailbox, &outgoing.sealed, &signatures) {
                    self.handle_stored(now, &outgoing, &evidence, &mailbox)?;
                }
            }
            Answer::Full => self.mailbox_full = Some(now),
            Answer::Conflict => self.handle_conflict(now, &outgoing)?,
            // Clocks that differ at a day's border, or a day parameter: sent again on its own schedule.
            Answer::Refused => self.refused = Some(now),
            _ => {}
        }
        Ok(())
    }

    fn handle_stored(
        &mut self,
        now: Timestamp,
        outgoing: &Outgoing,
        evidence: &Evidence,
        mailbox: &NodeId,
    ) -> Result<(), CoreError> {
        let id = outgoing.id;
        let mut retry = outgoing.retry;
        retry.handle_stored();
        // Once for each time that it is put.
        let first = !outgoing.retry.stored && !self.audits.contains_key(&id);
        let audit = if first { self.draw_audit(now, outgoing, evidence, mailbox) } else { None };
        let audited = audit.is_some() || self.audits.contains_key(&id);
        let forget = retry.is_finished() && outgoing.is_forgettable() && !audited;
        self.transaction(now, |work| {
            if let Some(audit) = &audit {
                audits::set(work.tx, id, audit)?;
            }
            outbox::set_retry(work.tx, id, &retry)?;
            outbox::set_receipt(work.tx, id, &evidence.to_bytes())?;
            if outgoing.kind == StreamKind::MessagesOut {
                beacons::set_on_mailboxes(work.tx, id, evidence.expiry)?;
            }
            if let Some(message) = outgoing.message {
                work.check_stored(message)?;
            }
            if forget { Ok(outbox::remove(work.tx, id)?) } else { Ok(()) }
        })?;
        if retry.is_finished() {
            self.outbox.remove(&id);
        } else if let Some(outgoing) = self.outbox.get_mut(&id) {
            outgoing.retry = retry;
        }
        self.audits.extend(audit.map(|audit| (id, audit)));
        self.invite_stored(id);
        Ok(())
    }

    /// A mailbox says, unsigned, that it holds something else under this box's id.
    ///
    /// What was signed for stays stored. In the stream that answers an invitation somebody else may have been first, and a
    /// mailbox that lies about it can do no worse than one that stores nothing: the user asks for a new link. Everywhere else
    /// nobody but us can write, so that one such answer is taken for a fault: the box is sent again on its own schedule, to
    /// the next holder. When another sending is answered in the same way this store is most likely a backup that was put back,
    /// and the conversation begins anew (`restarting`); if it did so within a day the box is given up.
    fn handle_conflict(&mut self, now: Timestamp, outgoing: &Outgoing) -> Result<(), CoreError> {
        if outgoing.retry.stored {
            return Ok(());
        }
        // Kept on disk: somebody may start this client every day for some minutes only.
        let again = self.store.transaction(|tx| outbox::count_conflict(tx, outgoing.id))? > 1;
        if again && self.restart_after_conflict(now, outgoing)? {
            return Ok(());
        }
        if outgoing.kind == StreamKind::AnswerOut || again {
            return self.give_up(now, outgoing, "someone else has written into this conversation's queue");
        }
        self.conflict = Some(now);
        Ok(())
    }

    /// Begins a conversation anew in whose streams somebody has written: we, before a backup was put back. False if that cannot
    /// be or has just been done.
    fn restart_after_conflict(&mut self, now: Timestamp, outgoing: &Outgoing) -> Result<bool, CoreError> {
        let stream = streams::by_id(self.store.connection(), outgoing.stream)?;
        let ours = matches!(stream.kind, StreamKind::MessagesOut | StreamKind::BeaconOut);
        let Some(contact) = stream.contact.filter(|_| ours) else { return Ok(false) };
        let (last, _) = restarts::last(self.store.connection(), contact)?;
        if now.since(last) < CONFLICT_EVERY {
            return Ok(false);
        }
        self.transaction(now, |work| {
            outbox::remove(work.tx, outgoing.id)?;
            work.restart(contact, 0)
        })?;
        self.outbox.remove(&outgoing.id);
        Ok(true)
    }

    /// A box that no mailbox will ever take.
    pub(super) fn give_up(&mut self, now: Timestamp, outgoing: &Outgoing, reason: &str) -> Result<(), CoreError> {
        self.outbox.remove(&outgoing.id);
        if outgoing.kind == StreamKind::AnswerOut {
            return self.answer_refused(now, outgoing);
        }
        let withdrawn = self.transaction(now, |work| match outgoing.message {
            Some(message) => {
                work.advance(message, State::Failed, Some(reason))?;
                Ok(outbox::remove_of(work.tx, message)?)
            }
            None => {
                outbox::remove(work.tx, outgoing.id)?;
                Ok(Vec::new())
            }
        })?;
        for id in withdrawn {
            self.outbox.remove(&id);
        }
        Ok(())
    }
}
