//! Files: sent as a manifest and boxes of a stream of their own, and put together again.

use super::{
    CoreError,
    work::{Event, Work},
};
use crate::{
    content::{Body, Manifest, Message, StreamSeed, Uuid},
    store::{
        contacts::ContactId,
        files::{self, FileShape},
        messages::{self, Direction, Kind, MessageId, NewMessage, State},
        streams::{self, FetchKey, NewStream, StreamKind},
    },
};
use sha2::{Digest as _, Sha256};
use veilpost_packet::boxes::{BOX_CONTENT_MAX, StreamRoot};

/// Files that one contact may be sending at a time; more are not fetched, and their sender never sees "delivered".
const INCOMING_FILES_MAX: i64 = 16;
/// What is said of a file beyond that.
const FILES_OPEN: &str = "16 files of this contact are on their way already; ask for this one again when they are here";
/// A file's progress is reported each time so many boxes have come.
pub(super) const PROGRESS_EVERY: u64 = 128;

impl Work<'_> {
    /// Copies a file into the store, writes it into the history and queues its manifest. Its boxes are sealed as Put slots
    /// take them.
    pub(super) fn send_file(
        &mut self,
        contact: ContactId,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<MessageId, CoreError> {
        let shape = FileShape::new(bytes.len() as u64, BOX_CONTENT_MAX as u32, Sha256::digest(bytes).into());
        let shape = shape.ok_or(CoreError::FileTooLarge)?;
        let file = files::put_all(self.tx, &shape, bytes)?;
        let (uuid, seed) = (Uuid::random(self.rng), StreamSeed::random(self.rng));
        let name = crate::content::file_name(name);
        let cap = StreamRoot::new(*seed.as_bytes()).write_cap();
        let manifest = Manifest {
            root: seed,
            boxes: shape.pieces,
            size: shape.size,
            sha256: shape.sha256,
            name: name.clone(),
            media_type: media_type.into(),
        };
        let body = Body::Attachment(manifest);
        // If it has to wait, this is what is sent in the end.
        let kept = Message { uuid, sent_at: self.now, body: body.clone() }.encode().map_err(|_| CoreError::TooLong)?;
        let new = NewMessage {
            uuid,
            contact,
            direction: Direction::Out,
            state: State::Queued,
            kind: Kind::File,
            media_type: media_type.into(),
            text: None,
            name: Some(name),
            size: Some(shape.size),
            body: Some(kept.to_vec()),
            file: Some(file),
            at: self.now,
        };
        let id = messages::insert(self.tx, &new)?.ok_or(CoreError::Bug("a fresh message id is taken"))?;
        streams::create(
            self.tx,
            &NewStream {
                kind: StreamKind::FileOut,
                contact: Some(contact),
                message: Some(id),
                write_cap: Some(&cap),
                read_cap: None,
                boxes: Some(u64::from(shape.pieces)),
            },
        )?;
        self.post(contact, uuid, body, Some(id))?;
        self.effects.events.push(Event::Message(id));
        Ok(id)
    }

    pub(super) fn expect_file(&mut self, new: NewMessage, manifest: Manifest) -> Result<(), CoreError> {
        let shape = FileShape::new(manifest.size, BOX_CONTENT_MAX as u32, manifest.sha256);
        let Some(shape) = shape.filter(|shape| shape.pieces == manifest.boxes) else {
            return self.refuse_file(
                new,
                manifest,
                "the file is too large or not as it was announced; ask for it again",
            );
        };
        if self.incoming_files(new.contact)? >= INCOMING_FILES_MAX {
            return self.refuse_file(new, manifest, FILES_OPEN);
        }
        let file = files::create(self.tx, &shape)?;
        let (uuid, contact) = (new.uuid, new.contact);
        let new = NewMessage {
            state: State::Receiving,
            kind: Kind::File,
            media_type: manifest.media_type.clone(),
            name: Some(manifest.name.clone()),
            size: Some(manifest.size),
            file: Some(file),
            ..new
        };
        let Some(id) = messages::insert(self.tx, &new)? else {
            // A repeat: its file is on its way or here.
            files::remove(self.tx, file)?;
            return Ok(());
        };
        self.effects.events.push(Event::Message(id));
        if shape.pieces == 0 {
            return self.finish_file(contact, id, uuid);
        }
        let read = StreamRoot::new(*manifest.root.as_bytes()).read_cap();
        let stream = streams::create(
            self.tx,
            &NewStream {
                kind: StreamKind::FileIn,
                contact: Some(contact),
                message: Some(id),
                write_cap: None,
                read_cap: Some(&read),
                boxes: Some(u64::from(shape.pieces)),
            },
        )?;
        self.effects.watch.push(stream);
        Ok(())
    }

    /// A file that is not fetched: shown, so that the reader knows of it, and never receipted, so that its writer does not
    /// see "delivered".
    fn refuse_file(&mut self, new: NewMessage, manifest: Manifest, reason: &str) -> Result<(), CoreError> {
        let new = NewMessage {
            state: State::Receiving,
            kind: Kind::File,
            media_type: manifest.media_type,
            name: Some(manifest.name),
            size: Some(manifest.size),
            ..new
        };
        match messages::insert(self.tx, &new)? {
            Some(id) => self.advance(id, State::Failed, Some(reason)),
            None => Ok(()),
        }
    }

    fn incoming_files(&self, contact: ContactId) -> Result<i64, CoreError> {
        let mut count = self.tx.prepare_cached(
            "SELECT count(*) FROM streams s JOIN messages m ON m.id = s.message
             WHERE s.contact = ?1 AND s.kind = ?2 AND m.state = 3",
        )?;
        Ok(count.query_row((contact.get(), StreamKind::FileIn as i64), |row| row.get(0))?)
    }

    /// A box of a file.
    pub(super) fn take_piece(
        &mut self,
        stream: &streams::Stream,
        key: FetchKey,
        content: &[u8],
    ) -> Result<(), CoreError> {
        let (Some(contact), Some(id)) = (stream.contact, stream.message) else { return Ok(()) };
        let found = messages::by_id(self.tx, id)?;
        let Some(file) = found.message.file else { return Ok(()) };
        let number = u32::try_from(key.index).map_err(|_| CoreError::Bug("a piece beyond its file"))?;
        let shape = files::shape(self.tx, file)?;
        if shape.piece_len(number) != Some(content.len()) {
            return self.advance(id, State::Failed, Some("the sender's file does not have the shape it announced"));
        }
        files::put_piece(self.tx, file, number, content)?;
        let (done, total) = (u64::from(files::pieces_present(self.tx, file)?), u64::from(shape.pieces));
        self.effects.events.push(Event::Progress { message: id, done, total });
        if done == total {
            return self.finish_file(contact, id, found.message.uuid);
        }
        if done.is_multiple_of(PROGRESS_EVERY) {
            let body = Body::Progress { manifest: found.message.uuid, count: done as u32 };
            let uuid = Uuid::random(self.rng);
            self.post(contact, uuid, body, None)?;
        }
        Ok(())
    }

    fn finish_file(&mut self, contact: ContactId, id: MessageId, uuid: Uuid) -> Result<(), CoreError> {
        let found = messages::by_id(self.tx, id)?;
        let Some(file) = found.message.file else { return Ok(()) };
        let (shape, bytes) = (files::shape(self.tx, file)?, files::read_all(self.tx, file)?);
        let whole = bytes.is_some_and(|bytes| <[u8; 32]>::from(Sha256::digest(&bytes)) == shape.sha256);
        if !whole {
            return self.advance(id, State::Failed, Some("the file arrived damaged; ask for it again"));
        }
        self.advance(id, State::Received, None)?;
        self.owe_receipt(contact, uuid)
    }
}
