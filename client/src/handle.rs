//! The one door to the core: typed commands in, typed events out.
//!
//! ```text
//! shell (API, desktop) --CoreHandle--> mpsc of Command, each with its Reply --> core (one thread)
//!                      <-------------- broadcast of Event <-------------------- CoreEnd
//! ```
//! The core answers every command once. A shell waits for each answer at most [`DEADLINE`]; an answer that comes later is
//! thrown away, and the command may have been done. When the core ends, its [`CoreEnd`] is dropped: open calls and later
//! ones fail with [`RefusalCode::Stopping`], and event streams end.

pub use crate::api::types::{
    Contact, Event, Invitation, Message, MessageState, Profile, Profiles, Refusal, RefusalCode, Safety, Sent, Status,
    Transport, Transports,
};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Commands that wait for the core at most; a shell that wants to add one waits its turn, within its deadline.
pub const COMMAND_QUEUE: usize = 64;
/// Events that wait for the slowest listener at most; it then misses the oldest and is told how many.
pub const EVENT_QUEUE: usize = 1_024;
/// How long a shell waits for an answer.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How long a shell waits when many bytes are to be written or read.
pub const FILE_DEADLINE: Duration = Duration::from_secs(120);
/// Most messages that one [`Command::Inbox`] is asked for.
pub const INBOX_PAGE: u32 = 50;

/// Where the answer to a command goes.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<Result<T, Refusal>>);

impl<T> Reply<T> {
    /// Answers. Nothing happens if nobody waits any more.
    pub fn send(self, answer: Result<T, Refusal>) {
        let _ = self.0.send(answer);
    }
}

/// A file as it leaves the core.
#[derive(Debug)]
pub struct FileBytes {
    /// Its name, safe as a file name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes, checked against the sender's hash.
    pub bytes: Vec<u8>,
}

/// What a shell can ask of the core. Names are checked here for length and control characters; whether there is such a
/// contact, message or file is for the core to say.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// How is it going?
    Status {
        /// The answer.
        reply: Reply<Status>,
    },
    /// What do profiles cost, and which is in use?
    Profile {
        /// The answer.
        reply: Reply<Profiles>,
    },
    /// Use a profile from the next connection on.
    SetProfile {
        /// Which.
        profile: Profile,
        /// The answer: the profiles as they are now.
        reply: Reply<Profiles>,
    },
    /// Which ways to the network are there, and which is in use?
    Transport {
        /// The answer.
        reply: Reply<Transports>,
    },
    /// Use another way to the network from now on.
    SetTransport {
        /// Which.
        transport: Transport,
        /// The answer: the transports as they are now.
        reply: Reply<Transports>,
    },
    /// Make an invitation.
    Invite {
        /// Our name for whoever answers.
        name: Option<String>,
        /// The answer.
        reply: Reply<Invitation>,
    },
    /// Answer an invitation. The answer comes when the link is understood and written to disk; the contact follows as an
    /// event when its box was read.
    Accept {
        /// The link.
        link: String,
        /// Our name for its maker.
        name: Option<String>,
        /// The answer: the contact as far as it is known.
        reply: Reply<Contact>,
    },
    /// All contacts.
    Contacts {
        /// The answer, by name.
        reply: Reply<Vec<Contact>>,
    },
    /// A contact's safety number.
    Safety {
        /// The contact's name.
        contact: String,
        /// The answer.
        reply: Reply<Safety>,
    },
    /// Someone compared safety numbers and they agree.
    Verify {
        /// The contact's name.
        contact: String,
        /// The answer: the contact as it is now.
        reply: Reply<Contact>,
    },
    /// Send a text.
    SendText {
        /// The contact's name.
        contact: String,
        /// At most [`crate::content::MAX_TEXT`] bytes, not empty.
        text: String,
        /// The answer, after the message is on disk.
        reply: Reply<Sent>,
    },
    /// Send a file.
    SendFile {
        /// The contact's name.
        contact: String,
        /// The file's name, already one safe path component.
        name: String,
        /// Its media type.
        media_type: String,
        /// At most [`crate::store::files::MAX_FILE`] bytes.
        bytes: Vec<u8>,
        /// The answer, after the file is on disk.
        reply: Reply<Sent>,
    },
    /// One message.
    Message {
        /// Its number.
        id: i64,
        /// The answer.
        reply: Reply<Message>,
    },
    /// The history, oldest first.
    Inbox {
        /// Only messages with a higher number.
        after: Option<i64>,
        /// At most so many; at most [`INBOX_PAGE`].
        limit: u32,
        /// The answer.
        reply: Reply<Vec<Message>>,
    },
    /// A received file's bytes.
    Attachment {
        /// Its message's number.
        id: i64,
        /// The answer.
        reply: Reply<FileBytes>,
    },
    /// Write everything down and end. The core answers, then drops its end.
    Stop {
        /// The answer.
        reply: Reply<()>,
    },
}

/// A shell's end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CoreHandle {
    commands: mpsc::Sender<Command>,
    // Weak, so that streams of events end with the core and not with the last handle.
    events: broadcast::WeakSender<Event>,
}

/// The core's end.
#[derive(Debug)]
pub struct CoreEnd {
    /// What shells ask.
    pub commands: mpsc::Receiver<Command>,
    /// Where events go. Sending fails when nobody listens, which is fine.
    pub events: broadcast::Sender<Event>,
}

/// The core at work: ends when it was stopped or cannot go on.
pub type CoreFuture = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// Starts the core over an open store. The daemon is given one of these, so that its shell does not depend on the core.
pub type StartCore = fn(crate::store::Store, CoreEnd) -> CoreFuture;

/// Both ends.
pub fn channel() -> (CoreHandle, CoreEnd) {
    let (command_in, command_out) = mpsc::channel(COMMAND_QUEUE);
    let (events, _) = broadcast::channel(EVENT_QUEUE);
    (CoreHandle { commands: command_in, events: events.downgrade() }, CoreEnd { commands: command_out, events })
}

impl CoreHandle {
    /// Events from now on; `None` when the core has ended.
    pub fn events(&self) -> Option<broadcast::Receiver<Event>> {
        self.events.upgrade().map(|sender| sender.subscribe())
    }

    /// See [`Command::Status`].
    ///
    /// # Errors
    /// What the core refuses, [`RefusalCode::TimedOut`], [`RefusalCode::Stopping`]: so for all calls.
    pub async fn status(&self) -> Result<Status, Refusal> {
        self.call(DEADLINE, |reply| Command::Status { reply }).await
    }

    /// See [`Command::Profile`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn profiles(&self) -> Result<Profiles, Refusal> {
        self.call(DEADLINE, |reply| Command::Profile { reply }).await
    }

    /// See [`Command::SetProfile`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn set_profile(&self, profile: Profile) -> Result<Profiles, Refusal> {
        self.call(DEADLINE, |reply| Command::SetProfile { profile, reply }).await
    }

    /// See [`Command::Transport`].
    ///
    /// # Errors
    /// The core's refusal.
    pub async fn transports(&self) -> Result<Transports, Refusal> {
        self.call(DEADLINE, |reply| Command::Transport { reply }).await
    }

    /// See [`Command::SetTransport`].
    ///
    /// # Errors
    /// The core's refusal.
    pub async fn set_transport(&self, transport: Transport) -> Result<Transports, Refusal> {
        self.call(DEADLINE, |reply| Command::SetTransport { transport, reply }).await
    }

    /// See [`Command::Invite`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn invite(&self, name: Option<String>) -> Result<Invitation, Refusal> {
        let name = name.as_deref().map(checked_name).transpose()?;
        self.call(DEADLINE, |reply| Command::Invite { name, reply }).await
    }

    /// See [`Command::Accept`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn accept(&self, link: String, name: Option<String>) -> Result<Contact, Refusal> {
        let name = name.as_deref().map(checked_name).transpose()?;
        self.call(DEADLINE, |reply| Command::Accept { link, name, reply }).await
    }

    /// See [`Command::Contacts`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn contacts(&self) -> Result<Vec<Contact>, Refusal> {
        self.call(DEADLINE, |reply| Command::Contacts { reply }).await
    }

    /// See [`Command::Safety`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn safety(&self, contact: String) -> Result<Safety, Refusal> {
        self.call(DEADLINE, |reply| Command::Safety { contact, reply }).await
    }

    /// See [`Command::Verify`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn verify(&self, contact: String) -> Result<Contact, Refusal> {
        self.call(DEADLINE, |reply| Command::Verify { contact, reply }).await
    }

    /// See [`Command::SendText`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`]; an empty or too long text is refused here.
    pub async fn send_text(&self, contact: String, text: String) -> Result<Sent, Refusal> {
        if text.is_empty() {
            return Err(Refusal::new(RefusalCode::BadRequest, "the message is empty"));
        }
        if text.len() > crate::content::MAX_TEXT {
            let message = "the text is longer than 64 KiB; send it as a file with --file";
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        self.call(DEADLINE, |reply| Command::SendText { contact, text, reply }).await
    }

    /// See [`Command::SendFile`]. The name is made safe here.
    ///
    /// # Errors
    /// As [`CoreHandle::status`]; a too large file is refused here.
    pub async fn send_file(
        &self,
        contact: String,
        name: &str,
        media_type: String,
        bytes: Vec<u8>,
    ) -> Result<Sent, Refusal> {
        if bytes.len() as u64 > crate::store::files::MAX_FILE {
            return Err(Refusal::new(RefusalCode::TooLarge, "the file is larger than 64 MiB; send it in parts"));
        }
        let name = crate::content::file_name(name);
        self.call(FILE_DEADLINE, |reply| Command::SendFile { contact, name, media_type, bytes, reply }).await
    }

    /// See [`Command::Message`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn message(&self, id: i64) -> Result<Message, Refusal> {
        self.call(DEADLINE, |reply| Command::Message { id, reply }).await
    }

    /// See [`Command::Inbox`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn inbox(&self, after: Option<i64>, limit: u32) -> Result<Vec<Message>, Refusal> {
        let limit = limit.min(INBOX_PAGE);
        self.call(DEADLINE, |reply| Command::Inbox { after, limit, reply }).await
    }

    /// See [`Command::Attachment`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn attachment(&self, id: i64) -> Result<FileBytes, Refusal> {
        self.call(FILE_DEADLINE, |reply| Command::Attachment { id, reply }).await
    }

    /// See [`Command::Stop`].
    ///
    /// # Errors
    /// As [`CoreHandle::status`].
    pub async fn stop(&self) -> Result<(), Refusal> {
        self.call(DEADLINE, |reply| Command::Stop { reply }).await
    }

    async fn call<T>(&self, deadline: Duration, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.commands.send(command(Reply(reply))).await.map_err(|_| stopping())?;
            answer.await.map_err(|_| stopping())?
        };
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| {
            let message = "the daemon took too long to answer; it may still be doing it: look with `veilpost status`";
            Err(Refusal::new(RefusalCode::TimedOut, message))
        })
    }
}

fn stopping() -> Refusal {
    Refusal::new(RefusalCode::Stopping, "the daemon is stopping; start it again with `veilpost daemon`")
}

fn checked_name(raw: &str) -> Result<String, Refusal> {
    let name = crate::content::person_name(raw);
    if name.is_empty() {
        return Err(Refusal::new(RefusalCode::BadRequest, "a name needs at least one letter"));
    }
    Ok(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_fails_plainly_when_the_core_has_ended() {
        let (handle, end) = channel();
        drop(end);
        assert_eq!(handle.status().await.unwrap_err().code, RefusalCode::Stopping);
        assert!(handle.events().is_none());
    }

    #[tokio::test]
    async fn a_call_whose_answer_is_dropped_fails_plainly() {
        let (handle, mut end) = channel();
        tokio::spawn(async move { drop(end.commands.recv().await) });
        assert_eq!(handle.stop().await.unwrap_err().code, RefusalCode::Stopping);
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_that_never_answers_does_not_hang_its_shell() {
        let (handle, _end) = channel();
        assert_eq!(handle.status().await.unwrap_err().code, RefusalCode::TimedOut);
    }

    #[tokio::test]
    async fn what_is_too_large_or_empty_never_reaches_the_core() {
        let (handle, _end) = channel();
        let long = "x".repeat(crate::content::MAX_TEXT + 1);
        assert_eq!(handle.send_text("Bob".into(), long).await.unwrap_err().code, RefusalCode::TooLarge);
        assert_eq!(handle.send_text("Bob".into(), String::new()).await.unwrap_err().code, RefusalCode::BadRequest);
        assert_eq!(handle.invite(Some("\u{7}".into())).await.unwrap_err().code, RefusalCode::BadRequest);
    }
}
