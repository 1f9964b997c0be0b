//! What adversaries see of a population, each kind a type of its own, and the truth, which no attack is given.
//!
//! | adversary | is handed |
//! |---|---|
//! | watcher of all clients' lines (global passive), or an entry for its clients | [`Lines`] |
//! | K mailboxes that work together | [`Requests`] of these, [`Requests::of_mailboxes`] |
//! | anybody | [`Named`]: digests are public |
//! | a contact | what it wrote itself, and so the ids of its boxes: [`Told`] |
//!
//! All times are seconds since the watch began.

use crate::simulation::Asked;

/// What a watcher of the clients' lines sees: when each client sends a frame. All frames have one size.
///
/// The other direction is a Poisson clock of the entry that nothing feeds (`mixnode::entry`): its times would be noise, and are not
/// drawn.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Times of frames, in order, by client.
    pub up: Vec<Vec<f32>>,
    /// From when to when each client was online.
    pub online: Vec<Vec<(f32, f32)>>,
    /// Length of the watch.
    pub span: f32,
}

impl Lines {
    /// Frames that a client sends from `from` until `until`.
    pub fn frames(&self, client: usize, from: f32, until: f32) -> usize {
        let Some(up) = self.up.get(client) else { return 0 };
        let before = |time: f32| up.partition_point(|at| *at < time);
        before(until).saturating_sub(before(from))
    }

    /// Frames a second that a client sends, over the whole watch.
    pub fn rate(&self, client: usize) -> f64 {
        self.up.get(client).map_or(0.0, |up| up.len() as f64 / f64::from(self.span.max(1.0)))
    }
}

/// The name of a box: ids of one stream have nothing in common.
pub type Id = u32;

/// A command as its mailbox sees it. Loops name no box and are left out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Request {
    /// When it came.
    pub at: f32,
    /// The box.
    pub id: Id,
    /// Put, Get or Ack.
    pub asked: Asked,
    /// The mailbox.
    pub mailbox: u8,
}

/// What mailboxes see: requests in order of time.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// All of them.
    pub all: Vec<Request>,
}

impl Requests {
    /// What the first `colluding` mailboxes see together.
    pub fn of_mailboxes(&self, colluding: usize) -> Self {
        let seen = self.all.iter().filter(|request| usize::from(request.mailbox) < colluding);
        Self { all: seen.copied().collect() }
    }

    /// The same by box.
    pub fn by_box(&self) -> ByBox {
        let mut requests = self.all.clone();
        requests.sort_by(|one, other| (one.id.cmp(&other.id)).then(one.at.total_cmp(&other.at)));
        ByBox { requests }
    }
}

/// Requests by box, in order of their ids, each box's in order of time.
#[derive(Clone, Debug, Default)]
pub struct ByBox {
    requests: Vec<Request>,
}

impl ByBox {
    /// Those for one box.
    pub fn of(&self, id: Id) -> &[Request] {
        let from = self.requests.partition_point(|request| request.id < id);
        let until = self.requests.partition_point(|request| request.id <= id);
        self.requests.get(from..until).unwrap_or_default()
    }

    /// Each box's.
    pub fn series(&self) -> impl Iterator<Item = &[Request]> {
        self.requests.chunk_by(|one, other| one.id == other.id)
    }
}

/// A box that a digest named.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Named {
    /// When the digest was made.
    pub at: f32,
    /// The box.
    pub id: Id,
}

/// What somebody outside the network knows or was told: a contact about its own boxes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Told {
    /// Boxes that belong together.
    pub boxes: Vec<Id>,
}

/// All that can be seen of a population.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Clients' lines.
    pub lines: Lines,
    /// At all mailboxes.
    pub requests: Requests,
    /// In digests, in order of time.
    pub named: Vec<Named>,
}

/// What a box is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Nothing.
    Decoy,
    /// A text.
    Text,
    /// A receipt that leaves alone.
    Receipt,
    /// A piece of a file.
    Piece,
}

/// Who wrote a box, and for whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The writer.
    pub writer: u32,
    /// The reader; a decoy's is its writer.
    pub reader: u32,
    /// What it is for.
    pub kind: Kind,
    /// Of which text or transfer, if it is one's.
    pub of: u32,
}

/// A text or a file, and what became of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Message {
    /// Who wrote it.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// When it was written.
    pub said: f32,
    /// When its first box left.
    pub sent: Option<f32>,
    /// When its last box was read.
    pub read: Option<f32>,
    /// Boxes in all, and how many are to be read yet.
    pub boxes: u32,
    /// How many are to be read yet.
    pub unread: u32,
}

/// What only the simulation knows: to score an attack by.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// By id of the box.
    pub owners: Vec<Owner>,
    /// Texts and files.
    pub messages: Vec<Message>,
    /// Contacts by client.
    pub contacts: Vec<Vec<u32>>,
}

impl Truth {
    /// The owner of a box.
    pub fn owner(&self, id: Id) -> Option<&Owner> {
        self.owners.get(id as usize)
    }

    /// Files that were read to the end, with their numbers.
    pub fn transfers(&self) -> impl Iterator<Item = (u32, &Message)> {
        let numbered = (0u32..).zip(&self.messages);
        numbered.filter(|(_, message)| message.boxes > 1 && message.read.is_some())
    }

    /// Boxes of one file.
    pub fn boxes_of(&self, transfer: u32) -> Told {
        let of = (0u32..).zip(&self.owners).filter(|(_, owner)| owner.kind == Kind::Piece && owner.of == transfer);
        Told { boxes: of.map(|(id, _)| id).collect() }
    }
}

/// A population that was watched.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// What can be seen.
    pub view: View,
    /// What it was.
    pub truth: Truth,
    /// Commands by kind, for a client and an hour online: Puts, Gets, Acks, Loops.
    pub rates: [f64; 4],
    /// Boxes that lived in the watch.
    pub boxes: usize,
}
