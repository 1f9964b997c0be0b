//! What an observer of a simulation notes: frames on every link, commands at the mailboxes, boxes that digests name. And what only
//! the simulation knows: which boxes are real.

use super::{Simulation, Who};
use std::collections::BTreeMap;
use veilpost_packet::{boxes::BoxTag, command::Command, ids::BoxId, time::Timestamp};

/// A frame as a watcher of its link sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sight {
    /// When it left.
    pub at: Timestamp,
    /// Whence.
    pub from: Who,
    /// Where to.
    pub to: Who,
    /// Bytes.
    pub size: u32,
}

/// What a command asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Asked {
    /// A box is written.
    Put,
    /// A box is read.
    Get,
    /// A box is deleted.
    Ack,
    /// Nothing.
    Loop,
}

/// A command as its mailbox sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandSight {
    /// When it came.
    pub at: Timestamp,
    /// The mailbox.
    pub mailbox: usize,
    /// What it asks.
    pub asked: Asked,
    /// Of which box; `None` for a loop.
    pub id: Option<BoxId>,
}

/// Who wrote a box, and whether for somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truth {
    /// The client.
    pub writer: usize,
    /// A decoy is read by its writer alone.
    pub decoy: bool,
}

/// All that was noted since the watch began.
#[derive(Default, Debug)]
pub struct Watch {
    /// Frames, in order of time.
    pub frames: Vec<Sight>,
    /// Commands, in order of time.
    pub commands: Vec<CommandSight>,
    /// Boxes that a digest named: when, by which mailbox.
    pub named: Vec<(Timestamp, usize, BoxTag)>,
    /// The boxes of all Puts that were made.
    pub truth: BTreeMap<BoxId, Truth>,
}

impl Watch {
    pub(super) fn command(&mut self, at: Timestamp, mailbox: usize, command: &Command) {
        let (asked, id) = match command {
            Command::Put { sealed, .. } => (Asked::Put, Some(sealed.id)),
            Command::Get { id, .. } => (Asked::Get, Some(*id)),
            Command::Ack { id, .. } => (Asked::Ack, Some(*id)),
            Command::Loop => (Asked::Loop, None),
        };
        self.commands.push(CommandSight { at, mailbox, asked, id });
    }
}

impl Simulation {
    /// Begins to note what can be seen. Memory grows with traffic: some 500 bytes for each packet of a client.
    pub fn watch(&mut self) {
        self.watch = Some(Watch::default());
    }

    /// What was noted so far.
    pub fn watched(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// What was noted since; nothing is noted any more.
    pub fn take_watch(&mut self) -> Watch {
        self.watch.take().unwrap_or_default()
    }
}
