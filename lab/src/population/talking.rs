//! What people say, and the boxes it takes.

use super::{Copies, Event, Id, Kind, Message, Owner, Reading, Receipts, World, client::Parcel, people};
use std::time::Duration;
use veilpost_client::arq::{GetRetry, PutRetry};
use veilpost_packet::random::{EngineRng, exponential, log_uniform, one_in, pick};

/// One decoy in so many is read late, and one never acknowledged (`client::core::writing`).
const DECOY_ODDITY: u32 = 16;
/// Shortest and longest absence that such a decoy draws.
const ABSENCE: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(10 * 86_400));
/// Mean wait of a receipt (`client::core::work`).
const RECEIPT_MEAN: Duration = Duration::from_secs(120);

/// After how long a decoy is read whose reader seems to be away.
pub(super) fn draw_absence(rng: &mut EngineRng) -> Duration {
    log_uniform(rng, ABSENCE.0, ABSENCE.1)
}

impl World<'_> {
    /// A box that is written from now on.
    pub(super) fn seal(&mut self, owner: Owner) -> Id {
        let decoy = owner.kind == Kind::Decoy;
        let (design, mailboxes) = (self.setup.design, self.setup.mailboxes);
        let holders = self.network.holders(mailboxes);
        let rng = &mut self.client(owner.writer).rng;
        let mut put = PutRetry::new(rng);
        if design.copies == Copies::OnLoss {
            put.planned = 1;
        }
        let late = decoy && one_in(rng, DECOY_ODDITY) && design.absences;
        let absence = if late { draw_absence(rng) } else { Duration::ZERO };
        let unacked = decoy && one_in(rng, DECOY_ODDITY);
        let id = Id::try_from(self.parcels.len()).expect("a day of 50,000 clients writes fewer boxes");
        self.truth.owners.push(owner);
        let get = GetRetry::new();
        self.parcels.push(Parcel { put, get, holders, durable: None, read: false, unacked, absence });
        id
    }

    /// The box that a reader who polls asks for: the oldest unread one, or the one to come.
    pub(super) fn awaited(&mut self, writer: u32, reader: u32) -> Id {
        let oldest = self.streams.get(&(writer, reader)).and_then(|stream| stream.front().copied());
        oldest.unwrap_or_else(|| {
            let id = self.seal(Owner { writer, reader, kind: Kind::Text, of: u32::MAX });
            self.streams.entry((writer, reader)).or_default().push_back(id);
            id
        })
    }

    /// The next box of a stream; whoever polls has asked for its id before.
    fn next_box(&mut self, owner: Owner) -> Id {
        if self.setup.design.reading == Reading::Digests {
            return self.seal(owner);
        }
        let key = (owner.writer, owner.reader);
        let last = self.streams.get(&key).and_then(|stream| stream.back().copied());
        match last.filter(|id| self.owner(*id).of == u32::MAX) {
            Some(id) => {
                self.truth.owners.get_mut(id as usize).into_iter().for_each(|known| *known = owner);
                id
            }
            None => {
                let id = self.seal(owner);
                self.streams.entry(key).or_default().push_back(id);
                id
            }
        }
    }

    fn post(&mut self, owner: Owner) {
        let id = self.next_box(owner);
        self.client(owner.writer).puts.push_back(id);
        self.wake_extra(owner.writer);
    }

    pub(super) fn begin_conversation(&mut self, who: u32) {
        let habits = self.setup.habits;
        if self.client(who).clocks.is_some()
            && let Some(contact) = self.some_contact(who)
        {
            let turns = people::at_least_one(habits.turns + 1.0, &mut self.rng) - 1;
            self.say(who, contact, turns);
        }
        if let Some(wait) = people::next(habits.conversations, &mut self.rng) {
            self.push(self.now + wait, Event::Begin(who));
        }
    }

    fn some_contact(&mut self, who: u32) -> Option<u32> {
        pick(&mut self.rng, self.truth.contacts.get(who as usize)?).copied()
    }

    pub(super) fn say(&mut self, from: u32, to: u32, turns: u32) {
        let row = people::at_least_one(self.setup.habits.burst, &mut self.rng);
        self.text(from, to, turns, row);
    }

    /// One text, and those of the row that follow. The last of a row asks for an answer.
    pub(super) fn text(&mut self, from: u32, to: u32, turns: u32, row: u32) {
        let of = self.message(from, to, 1, if row == 1 { turns } else { 0 });
        // Receipts that wait for this contact ride along.
        self.client(from).receipts.retain(|contact| *contact != to);
        self.post(Owner { writer: from, reader: to, kind: Kind::Text, of });
        if row > 1 {
            let typed = people::some(self.setup.habits.typing, &mut self.rng);
            self.push(self.now + typed, Event::Text(from, to, turns, row - 1));
        }
    }

    fn message(&mut self, from: u32, to: u32, boxes: u32, turns: u32) -> u32 {
        let of = u32::try_from(self.truth.messages.len()).expect("people write less than boxes are numbered");
        let said = self.seconds(self.now);
        self.truth.messages.push(Message { from, to, said, sent: None, read: None, boxes, unread: boxes });
        self.turns.push(turns);
        of
    }

    pub(super) fn send_file(&mut self, who: u32) {
        let habits = self.setup.habits;
        let online = self.client(who).clocks.is_some();
        if let Some(contact) = self.some_contact(who).filter(|_| online) {
            let pieces = u32::try_from(habits.pieces()).unwrap_or(u32::MAX);
            let of = self.message(who, contact, pieces, 0);
            self.client(who).files.push_back((of, pieces));
            self.wake_extra(who);
        }
        if let Some(wait) = people::next(habits.files, &mut self.rng) {
            self.push(self.now + wait, Event::File(who));
        }
    }

    pub(super) fn next_piece(&mut self, who: u32) -> Option<Id> {
        let client = self.client(who);
        let (of, left) = client.files.front_mut()?;
        let of = *of;
        *left -= 1;
        if *left == 0 {
            client.files.pop_front();
        }
        let reader = self.truth.messages.get(of as usize)?.to;
        Some(self.next_box(Owner { writer: who, reader, kind: Kind::Piece, of }))
    }

    pub(super) fn note_sent(&mut self, id: Id, sends: u32) {
        let (at, Owner { kind, of, .. }) = (self.seconds(self.now), self.owner(id));
        if sends == 0 && matches!(kind, Kind::Text | Kind::Piece) {
            let message = self.truth.messages.get_mut(of as usize);
            message.into_iter().for_each(|message| message.sent = message.sent.or(Some(at)));
        }
    }

    /// A box of somebody else is here: its reader owes a receipt, and perhaps an answer.
    pub(super) fn read(&mut self, id: Id) {
        let (now, habits) = (self.now, self.setup.habits);
        let Owner { writer, reader, kind, of } = self.owner(id);
        if !matches!(kind, Kind::Text | Kind::Piece) {
            return;
        }
        let at = self.seconds(now);
        let Some(message) = self.truth.messages.get_mut(of as usize) else { return };
        message.unread -= 1;
        if message.unread > 0 {
            return;
        }
        message.read = Some(at);
        self.client(reader).receipts.push(writer);
        let wait = match self.setup.design.receipts {
            Receipts::Queued => exponential(&mut self.client(reader).rng, RECEIPT_MEAN),
            Receipts::Immediate => Duration::ZERO,
        };
        self.push(now + wait, Event::Receipt(reader, writer));
        let turns = self.turns.get(of as usize).copied().unwrap_or(0);
        if turns > 0 {
            let thought = people::some(habits.thinking, &mut self.rng);
            self.push(now + thought, Event::Say(reader, writer, turns - 1));
        }
    }

    pub(super) fn receipt(&mut self, from: u32, to: u32) {
        let waiting = &mut self.client(from).receipts;
        let before = waiting.len();
        waiting.retain(|contact| *contact != to);
        if waiting.len() < before {
            self.post(Owner { writer: from, reader: to, kind: Kind::Receipt, of: 0 });
        }
    }
}
