//! Do mailboxes keep what they sign for? One stored box in eight, real or decoy, is read back.
//!
//! The box is asked of the holder that did not answer the Put, in ticks of the get clock, as long after it was stored as a
//! reader's repeated Get comes, and now and then after an absence like those of readers: to the mailbox the Get of an audit
//! is a reader's. A reader who is quick acknowledges the box before; then `Gone` is a good answer. Of boxes that nobody can
//! have acknowledged, the decoys that we never do, it is a lie.
//!
//! **How soon a mailbox is noticed that throws everything away**, counted in audits that it gets: by the first, if it says so
//! or answers other bytes; if it says that all is acknowledged, by the first of an unacknowledged decoy, one in sixteen; if it
//! is silent, by the fourth. At default rates a client stores a box every eight seconds and looks one up every minute, each
//! at another mailbox by chance: with ten mailboxes the first case takes ten minutes and the second, on average, three hours.
//! A mailbox that loses one box in a hundred is noticed after a hundred.
//!
//! A broken word is kept with the signatures that prove it, shown in the status, and the box is put again, to all holders in
//! turn, decoys too: otherwise a mailbox could tell them apart by what it throws away.

use super::{
    Core, CoreError,
    evidence::Evidence,
    types::{Preparing, Purpose},
    writing::{ABSENCE_MAX, ABSENCE_MIN, DECOY_ODDITY, Job},
};
use crate::{
    arq::{Pace, PutRetry, repeat_gap},
    store::{
        audits::{self, Audit, Fault},
        outbox::{self, OutboxId, Outgoing},
        streams::StreamKind,
    },
};
use std::{collections::BTreeMap, time::Duration};
use veilpost_packet::{
    boxes::SealedBox,
    command::{Answer, Command},
    ids::{District, NodeId},
    random::{log_uniform, one_in},
    time::{Day, Timestamp},
};
use veilpost_pki::{Document, topology};

/// One stored box in this many is looked up.
const ONE_IN: u32 = 8;
/// Look-ups that are planned or under way at most; boxes that are stored meanwhile are not looked up. Absences fill about 500.
const AUDITS_MAX: usize = 4_096;
/// How often a mailbox is asked for one box before it counts as silent.
const TRIES: u32 = 3;
/// An acknowledged box is remembered for a day; a look-up that is due later than half of it is dropped when a reader has the box.
const TOMBSTONE: Duration = Duration::from_secs(12 * 3_600);
/// How long broken words are shown.
const SHOWN: Duration = Duration::from_secs(7 * 86_400);
/// Unanswered look-ups that count as silence, if they are at least half of all: a packet is lost now and then.
const SILENT: u64 = 4;

/// What look-ups at one mailbox came to, since the process began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) kept: u64,
    pub(super) silent: u64,
}

impl Core {
    /// Takes up look-ups from the store.
    pub(super) fn load_audits(&mut self) -> Result<(), CoreError> {
        self.audits = audits::all(self.store.connection())?.into_iter().collect();
        Ok(())
    }

    /// Draws whether a box that was just stored is looked up, at whom and when.
    pub(super) fn draw_audit(
        &mut self,
        now: Timestamp,
        outgoing: &Outgoing,
        evidence: &Evidence,
        answered: &NodeId,
    ) -> Option<Audit> {
        let drawn = one_in(&mut self.rng, ONE_IN) && self.audits.len() < AUDITS_MAX;
        let holder = evidence.other_than(answered).filter(|_| drawn)?;
        let decoy = outgoing.kind == StreamKind::Decoys;
        let strict = decoy && audits::is_unacked(self.store.connection(), outgoing.id).ok()?;
        let params = &self.document.as_ref()?.params;
        // Only boxes of which we learn that they are acknowledged wait for long.
        let absent = (strict || outgoing.message.is_some()) && one_in(&mut self.rng, DECOY_ODDITY);
        let absence = log_uniform(&mut self.rng, ABSENCE_MIN, ABSENCE_MAX);
        let absence = if absent { params.hurry(absence) } else { Duration::ZERO };
        let due = now + absence + repeat_gap(&mut self.rng, Pace(params.hurry));
        Some(Audit { sealed: outgoing.sealed.clone(), holder, due, tries: 0, strict })
    }

    /// The look-up that the get clock makes next, with the time that it is due.
    pub(super) fn next_audit(&self, now: Timestamp) -> Option<(Timestamp, OutboxId)> {
        let document = self.document.as_ref()?;
        let open = self.audits.iter().filter(|(id, audit)| {
            audit.tries < TRIES
                && audit.due <= now
                && !self.preparing.contains(&Preparing::Audit(**id))
                && is_up(document, &audit.holder)
        });
        open.map(|(id, audit)| (audit.due, *id)).min()
    }

    pub(super) fn audit_job(&self, id: OutboxId) -> Option<Job> {
        let audit = self.audits.get(&id)?;
        let command = Command::Get { id: audit.sealed.id, district: District(0) };
        Some((Purpose::Audit(id), command, Some(audit.holder)))
    }

    pub(super) fn handle_audit_sent(&mut self, now: Timestamp, id: OutboxId, pace: Pace) -> Result<(), CoreError> {
        self.preparing.remove(&Preparing::Audit(id));
        let gap = repeat_gap(&mut self.rng, pace);
        let Some(audit) = self.audits.get_mut(&id) else { return Ok(()) };
        audit.tries += 1;
        audit.due = now + gap;
        Ok(self.store.transaction(|tx| audits::set(tx, id, audit))?)
    }

    pub(super) fn handle_audit_answer(
        &mut self,
        now: Timestamp,
        id: OutboxId,
        answer: &Answer,
    ) -> Result<(), CoreError> {
        let Some(audit) = self.audits.get(&id) else { return Ok(()) };
        match self.judge(audit, answer) {
            Verdict::Kept => self.end_audit(now, id, None),
            Verdict::Broken(fault) if self.is_bound(now, audit) => self.end_audit(now, id, Some(fault)),
            Verdict::Broken(_) => self.end_audit(now, id, None),
            // It is syncing, or full: asked again as if nothing had come.
            Verdict::Open => Ok(()),
        }
    }

    fn judge(&self, audit: &Audit, answer: &Answer) -> Verdict {
        let same = |found: &SealedBox| {
            let network = self.authorities.network();
            found.id == audit.sealed.id
                && found.expiry >= audit.sealed.expiry
                && found.verify(&network) == Some(audit.sealed.content_hash(&network))
        };
        match answer {
            Answer::Found(found) if same(found) => Verdict::Kept,
            Answer::Found(_) => Verdict::Broken(Fault::OtherBytes),
            Answer::Gone if audit.strict => Verdict::Broken(Fault::SaidGone),
            Answer::Gone => Verdict::Kept,
            Answer::Absent => Verdict::Broken(Fault::Lost),
            _ => Verdict::Open,
        }
    }

    /// True while the mailbox has to have the box: until it expires, and while placement does not take it elsewhere.
    fn is_bound(&self, now: Timestamp, audit: &Audit) -> bool {
        let Some(document) = &self.document else { return false };
        let copies = usize::try_from(document.params.copies).unwrap_or(1).max(1);
        let holders = topology::holders(document, &audit.sealed.id);
        let placed = holders.iter().take(copies).any(|holder| *holder == audit.holder);
        placed && Day::at(now, document.params.day) <= audit.sealed.expiry
    }

    /// Ends look-ups that got no answer, or whose mailbox is not listed any more.
    pub(super) fn end_silent_audits(&mut self, now: Timestamp) -> Result<(), CoreError> {
        let Some(document) = self.document.clone() else { return Ok(()) };
        let over = self.audits.iter().filter(|(_, audit)| audit.due <= now);
        let over: Vec<_> = over
            .filter(|(_, audit)| audit.tries >= TRIES || !is_up(&document, &audit.holder))
            .map(|(id, audit)| (*id, is_up(&document, &audit.holder) && self.is_bound(now, audit)))
            .collect();
        for (id, silent) in over {
            self.end_audit(now, id, silent.then_some(Fault::Silent))?;
        }
        Ok(())
    }

    fn end_audit(&mut self, now: Timestamp, id: OutboxId, fault: Option<Fault>) -> Result<(), CoreError> {
        let Some(audit) = self.audits.get(&id).cloned() else { return Ok(()) };
        let content = audit.sealed.content_hash(&self.authorities.network());
        let lost = fault.is_some_and(|fault| fault != Fault::Silent);
        self.transaction(now, |work| {
            if let Some(fault) = fault {
                let receipt = outbox::receipt(work.tx, id)?.unwrap_or_default();
                audits::push_fault(work.tx, fault, now, &audit, &content, &receipt)?;
            }
            if let Some(mut outgoing) = outbox::by_id(work.tx, id)?.filter(|_| lost) {
                outgoing.retry = PutRetry::again(now, work.rng, Pace(work.params.hurry));
                outbox::begin_anew(work.tx, id, &outgoing.retry)?;
                work.effects.outgoing.push(outgoing);
            }
            Ok(outbox::finish_audit(work.tx, id)?)
        })?;
        self.audits.remove(&id);
        let record = self.records.entry(audit.holder).or_default();
        match fault {
            Some(Fault::Silent) => record.silent += 1,
            Some(_) => {}
            None => record.kept += 1,
        }
        Ok(())
    }

    /// Broken words in words for a person.
    pub(super) fn audit_warnings(&self, now: Timestamp) -> Result<Vec<String>, CoreError> {
        let mut lost: BTreeMap<NodeId, u64> = BTreeMap::new();
        let faults = audits::faults_since(self.store.connection(), now - SHOWN)?;
        for (mailbox, _, count) in faults.into_iter().filter(|(_, fault, _)| *fault != Fault::Silent) {
            *lost.entry(mailbox).or_default() += count;
        }
        let silent = |(_, record): &(&NodeId, &Record)| record.silent >= SILENT && record.silent >= record.kept;
        let broken = lost.into_iter().map(|(mailbox, count)| {
            format!(
                "mailbox {} said that it stored {count} boxes of yours and does not have them; they are put again, and its \
                 signatures are kept as evidence",
                short(&mailbox)
            )
        });
        let silent = self.records.iter().filter(silent).map(|(mailbox, _)| {
            format!("mailbox {} does not hand out what it said it stored; other mailboxes are asked", short(mailbox))
        });
        Ok(broken.chain(silent).collect())
    }

    /// A reader has the box: a look-up that would come when the mailbox has forgotten it is dropped.
    pub(super) fn drop_late_audit(&mut self, now: Timestamp, id: OutboxId) -> Result<(), CoreError> {
        let half_a_day = self.document.as_ref().map_or(TOMBSTONE, |document| document.params.hurry(TOMBSTONE));
        if self.audits.get(&id).is_some_and(|audit| audit.due > now + half_a_day) {
            self.audits.remove(&id);
            self.store.transaction(|tx| outbox::finish_audit(tx, id))?;
        }
        Ok(())
    }
}

enum Verdict {
    Kept,
    Broken(Fault),
    Open,
}

fn is_up(document: &Document, id: &NodeId) -> bool {
    document.mailboxes.iter().any(|mailbox| mailbox.id == *id)
}

/// Enough of an id to tell mailboxes apart.
fn short(id: &NodeId) -> String {
    id.to_string().chars().take(12).collect()
}
