//! Changes that are decided but not yet on disk, one per box id, and what follows once they are.

use crate::store::{BoxStore, Change, Confirmation, Held, StoreError, Waiting};
use std::collections::BTreeMap;
use veilpost_packet::{
    boxes::{BoxTag, ContentHash, SealedBox},
    ids::{BoxId, NodeId},
    peer::PeerItem,
    time::Day,
};

/// What follows a batch that is on disk.
#[derive(Debug)]
pub(super) enum Effect {
    /// Tell another mailbox.
    Tell(NodeId, PeerItem),
    /// Have others hold this box too: as many as are missing.
    Replicate(BoxId),
    /// Have the one that decides decide for this box, which is not held here yet.
    Offer(SealedBox, ContentHash),
    /// Enough disks hold this content: writers who wait may be told.
    Durable(BoxId, ContentHash, Confirmation),
    /// The box is here now: readers who wait may have it.
    Arrived(BoxId),
    /// Another content won: writers who wait for `ContentHash` may be told.
    Lost(BoxId, ContentHash),
    /// It is acknowledged: readers who wait may be told.
    Gone(BoxId),
}

#[derive(Debug)]
enum Write {
    /// The entry is new as a whole.
    Whole(Held),
    /// Only who else holds the box.
    Others(Held),
}

#[derive(Debug)]
struct Entry {
    write: Write,
    announce: Option<Waiting>,
}

/// The changes of one commit.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: BTreeMap<BoxId, Entry>,
    /// Tags that no longer wait.
    pub(super) announced: Vec<Waiting>,
    /// Tags of boxes that are held no more, once this is on disk.
    pub(super) buried: Vec<BoxTag>,
    /// What follows once this is on disk, in order.
    pub(super) effects: Vec<Effect>,
    /// Boxes that are new, boxes that are deleted, and copies taken for others, once this is on disk.
    pub(super) stored: u64,
    pub(super) acknowledged: u64,
    pub(super) copied: u64,
    /// Bytes of new boxes by bucket.
    pub(super) coming: BTreeMap<Day, u64>,
}

impl Batch {
    /// What is held under an id, as if the batch were on disk.
    pub(super) fn held<S: BoxStore>(&self, store: &S, id: &BoxId) -> Result<Option<Held>, StoreError> {
        match self.entries.get(id) {
            Some(Entry { write: Write::Whole(held) | Write::Others(held), .. }) => Ok(Some(held.clone())),
            None => store.get(id),
        }
    }

    /// Holds something in place of whatever is there.
    pub(super) fn hold(&mut self, id: BoxId, held: Held, announce: Option<Waiting>) {
        self.write(id, Write::Whole(held), announce);
    }

    /// Only the list of other holders changes.
    pub(super) fn confirm(&mut self, id: BoxId, held: Held, announce: Option<Waiting>) {
        let whole = matches!(self.entries.get(&id), Some(Entry { write: Write::Whole(_), .. }));
        self.write(id, if whole { Write::Whole(held) } else { Write::Others(held) }, announce);
    }

    fn write(&mut self, id: BoxId, write: Write, announce: Option<Waiting>) {
        // A tag that was to wait by an earlier step of this batch still waits.
        let earlier = self.entries.remove(&id).and_then(|entry| entry.announce);
        self.entries.insert(id, Entry { write, announce: announce.or(earlier) });
    }

    /// True if there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.announced.is_empty()
    }

    /// The changes in order of id, and the tags that wait from now on.
    pub(super) fn changes(&mut self) -> (Vec<Change>, Vec<Waiting>) {
        let waiting = self.entries.values().filter_map(|entry| entry.announce).collect();
        let entries =
            std::mem::take(&mut self.entries).into_iter().map(|(id, Entry { write, announce })| match write {
                Write::Whole(held) => Change::Hold { id, held, announce },
                Write::Others(Held::Box(kept)) => {
                    Change::Confirm { id, bucket: kept.sealed.expiry, others: kept.others, announce }
                }
                Write::Others(held) => Change::Hold { id, held, announce },
            });
        let changes = entries.chain(self.announced.iter().copied().map(Change::Announced)).collect();
        (changes, waiting)
    }
}
