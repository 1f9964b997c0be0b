//! Words of the local API: what the core answers, what crosses the socket, what `--json` prints.

pub use super::refusal::{Refusal, RefusalCode};
use crate::store::messages::{Direction as StoredDirection, Kind as StoredKind, State as StoredState, StoredMessage};
pub use crate::transport::Transport;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use veilpost_packet::time::Timestamp;

/// How the daemon is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Whether the link to an entry is up and frames arrive.
    pub connected: bool,
    /// The epoch of the network document in use; null before the first document.
    pub epoch: Option<u64>,
    /// How packets travel: `mixnet`, `mixnet-over-tor` or `tor`.
    pub transport: String,
    /// How much traffic this connection makes; without a connection, the next one.
    pub profile: Profile,
    /// What was chosen for the next connection, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_profile: Option<Profile>,
    /// Messages that are not yet on a mailbox.
    pub queued: u64,
    /// What a person should know, each a sentence.
    pub warnings: Vec<String>,
}

/// How much traffic a client makes. Each profile is an anonymity set of its own: a client hides among those of the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The network's full rates
    #[default]
    Standard,
    /// Less traffic and longer delays, for lines that are paid by volume
    Metered,
}

impl Profile {
    /// The word for it.
    pub fn name(self) -> &'static str {
        veilpost_packet::profile::Profile::from(self).name()
    }
}

impl From<veilpost_packet::profile::Profile> for Profile {
    fn from(profile: veilpost_packet::profile::Profile) -> Self {
        match profile {
            veilpost_packet::profile::Profile::Standard => Self::Standard,
            veilpost_packet::profile::Profile::Metered => Self::Metered,
        }
    }
}

impl From<Profile> for veilpost_packet::profile::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Standard => Self::Standard,
            Profile::Metered => Self::Metered,
        }
    }
}

/// What a profile costs in this network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileCost {
    /// Which.
    pub profile: Profile,
    /// Bytes a day that a client sends, all headers included, if it is online all day; the same whether it is idle or busy.
    pub bytes_up_a_day: u64,
    /// The same of what it receives.
    pub bytes_down_a_day: u64,
    /// Half of the texts to people of the same profile are there within so many seconds, if nothing is queued before them.
    pub text_seconds_median: u64,
    /// 95 % of them are.
    pub text_seconds_p95: u64,
}

/// The profiles that there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profiles {
    /// The one in use.
    pub profile: Profile,
    /// The one that was chosen for the next connection, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_profile: Option<Profile>,
    /// What each costs; empty before the first network document.
    pub costs: Vec<ProfileCost>,
}

impl ProfileCost {
    fn new(profile: Profile, cost: &crate::cost::Cost) -> Self {
        Self {
            profile,
            bytes_up_a_day: cost.up,
            bytes_down_a_day: cost.down,
            text_seconds_median: cost.median.as_secs(),
            text_seconds_p95: cost.p95.as_secs(),
        }
    }
}

impl From<crate::core::Offers> for Profiles {
    fn from(offers: crate::core::Offers) -> Self {
        let cost = |(profile, cost): &(veilpost_packet::profile::Profile, crate::cost::Cost)| {
            ProfileCost::new((*profile).into(), cost)
        };
        Self {
            profile: offers.profile.into(),
            next_profile: offers.next.map(Into::into),
            costs: offers.costs.iter().map(cost).collect(),
        }
    }
}

/// Somebody, and what they learn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Learns {
    /// Who.
    pub who: String,
    /// What they learn of this client.
    pub what: String,
}

/// What a transport means in this network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransportChoice {
    /// Which.
    pub transport: Transport,
    /// Who learns what.
    pub learns: Vec<Learns>,
    /// What it costs with the standard profile; null before the first network document.
    pub cost: Option<ProfileCost>,
}

/// The transports that there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transports {
    /// The one in use.
    pub transport: Transport,
    /// What each means.
    pub choices: Vec<TransportChoice>,
}

impl Transports {
    pub(crate) fn new(used: Transport, params: Option<&veilpost_pki::Params>) -> Self {
        let choice = |transport: Transport| {
            let learns = transport.who_learns_what();
            let cost = |params| crate::cost::over(params, veilpost_packet::profile::Profile::Standard, transport);
            TransportChoice {
                transport,
                learns: learns.map(|(who, what)| Learns { who: who.into(), what: what.into() }).to_vec(),
                cost: params.map(|params| ProfileCost::new(Profile::Standard, &cost(params))),
            }
        };
        Self { transport: used, choices: Transport::ALL.map(choice).to_vec() }
    }
}

/// Chooses a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransportRequest {
    /// The one to use from now on.
    pub transport: Transport,
}

/// Chooses a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileRequest {
    /// The one to use from the next connection on.
    pub profile: Profile,
}

/// Asks for an invitation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// Our name for whoever will answer; their own name if left out.
    #[serde(default)]
    pub name: Option<String>,
}

/// An invitation. Whoever has the link can use it once, within 14 days.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// 60 letters and digits. Secret between the two.
    pub link: String,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invitation(..)")
    }
}

/// Answers an invitation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// The link.
    pub link: String,
    /// Our name for its maker; their own name if left out.
    #[serde(default)]
    pub name: Option<String>,
}

impl std::fmt::Debug for AcceptRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AcceptRequest(..)")
    }
}

/// How far the making of a contact has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContactState {
    /// Invited, no answer yet.
    Invited,
    /// We answered their invitation; they have not written yet.
    Answered,
    /// Both can write.
    Established,
    /// The invitation came to nothing.
    Failed,
}

impl ContactState {
    /// Whether one can write to the contact.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Answered | Self::Established)
    }
}

impl From<crate::store::contacts::ContactState> for ContactState {
    fn from(state: crate::store::contacts::ContactState) -> Self {
        use crate::store::contacts::ContactState as Stored;
        match state {
            Stored::Invited => Self::Invited,
            Stored::Answered => Self::Answered,
            Stored::Established => Self::Established,
            Stored::Failed => Self::Failed,
        }
    }
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contact {
    /// Our name for it; unique without regard to case.
    pub name: String,
    /// Whether a person compared safety numbers.
    pub verified: bool,
    /// How far the making of it has come.
    pub state: ContactState,
}

impl From<&crate::store::contacts::Contact> for Contact {
    fn from(contact: &crate::store::contacts::Contact) -> Self {
        Self { name: contact.name.clone(), verified: contact.verified, state: contact.state.into() }
    }
}

/// A safety number, to be compared on both devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Safety {
    /// With whom.
    pub contact: String,
    /// Twelve groups of five digits with spaces between.
    pub digits: String,
    /// Bytes of the QR code, hexadecimal.
    pub scannable: String,
    /// Whether it was compared before.
    pub verified: bool,
}

/// A text to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextRequest {
    /// At most 64 KiB of UTF-8.
    pub text: String,
}

/// A message that is on this device's disk and on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    /// Its number here.
    pub id: i64,
    /// Where it is.
    pub state: MessageState,
    /// About how long until it is stored, in seconds, at the network's rate and with what is queued before it.
    pub estimate_seconds: Option<u64>,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// Out: on this device's disk.
    Queued,
    /// Out: on as many mailboxes as the network asks for.
    Stored,
    /// Out: on the recipient's device.
    Delivered,
    /// In: a file whose bytes are still coming.
    Receiving,
    /// In: here, whole and checked.
    Received,
    /// Given up; the reason says why.
    Failed,
}

impl MessageState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Stored => "stored",
            Self::Delivered => "delivered",
            Self::Receiving => "receiving",
            Self::Received => "received",
            Self::Failed => "failed",
        }
    }

    /// Whether an outgoing message in this state has come as far as `goal`.
    pub fn has_reached(self, goal: MessageState) -> bool {
        let rank = |state| match state {
            Self::Queued => 0,
            Self::Stored => 1,
            Self::Delivered => 2,
            Self::Receiving | Self::Received | Self::Failed => -1,
        };
        rank(self) >= rank(goal)
    }
}

impl From<StoredState> for MessageState {
    fn from(state: StoredState) -> Self {
        match state {
            StoredState::Queued => Self::Queued,
            StoredState::Stored => Self::Stored,
            StoredState::Delivered => Self::Delivered,
            StoredState::Receiving => Self::Receiving,
            StoredState::Received => Self::Received,
            StoredState::Failed => Self::Failed,
        }
    }
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The contact.
    In,
    /// We.
    Out,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text.
    Text,
    /// A file.
    File,
    /// A type that this release does not know; `name` holds its media type.
    Other,
}

/// A message of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Its number here; later messages have higher ones.
    pub id: i64,
    /// With whom.
    pub contact: String,
    /// Who wrote it.
    pub direction: Direction,
    /// Where it is.
    pub state: MessageState,
    /// What it is.
    pub kind: Kind,
    /// The text of a text.
    pub text: Option<String>,
    /// The name of a file.
    pub name: Option<String>,
    /// The size of a file, bytes.
    pub size: Option<u64>,
    /// Where `inbox --save` put the file; always null in the API.
    pub path: Option<String>,
    /// When it was written (out) or received (in), RFC 3339.
    pub at: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Message {
    /// A row of the store with the contact's name.
    pub fn new(stored: &StoredMessage, contact: String) -> Self {
        let message = &stored.message;
        let (kind, name) = match message.kind {
            StoredKind::Text => (Kind::Text, None),
            StoredKind::File => (Kind::File, message.name.clone()),
            StoredKind::Other => (Kind::Other, Some(message.media_type.clone())),
        };
        Self {
            id: stored.id.0,
            contact,
            direction: match message.direction {
                StoredDirection::In => Direction::In,
                StoredDirection::Out => Direction::Out,
            },
            state: message.state.into(),
            kind,
            text: message.text.clone(),
            name,
            size: message.size,
            path: None,
            at: rfc3339(message.at),
            reason: stored.reason.clone(),
        }
    }
}

/// Something happened. Events hold ids; ask for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A message of the history is in another state.
    MessageChanged {
        /// Which.
        id: i64,
        /// Where it is now.
        state: MessageState,
    },
    /// A message came in: a text, or the announcement of a file, whose state is then `receiving`.
    MessageReceived {
        /// Which.
        id: i64,
    },
    /// Some boxes of a file were sent or received.
    AttachmentProgress {
        /// The file's message.
        id: i64,
        /// Boxes done.
        done: u32,
        /// Boxes in all.
        total: u32,
    },
    /// The link to the entry went up or down.
    ConnectionChanged {
        /// Whether it is up.
        connected: bool,
    },
    /// A contact can be written to from now on.
    ContactAdded {
        /// Our name for it.
        name: String,
    },
    /// The listener was too slow and missed events: ask for everything again.
    Missed {
        /// How many.
        count: u64,
    },
}

/// A moment in the form of RFC 3339, in UTC, to the second.
pub fn rfc3339(time: Timestamp) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_scripts_read_it() {
        assert_eq!(rfc3339(Timestamp::from_millis(1_700_000_000_999)), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(Timestamp::FAR_FUTURE), "2554-07-21T23:34:33Z");
    }

    #[test]
    fn a_state_reaches_its_goal_in_order_and_failure_never_does() {
        use MessageState::{Delivered, Failed, Queued, Stored};
        assert!(Delivered.has_reached(Stored) && Stored.has_reached(Stored));
        assert!(!Queued.has_reached(Stored) && !Stored.has_reached(Delivered) && !Failed.has_reached(Stored));
    }

    #[test]
    fn a_message_has_the_fields_that_scripts_rely_on() {
        let message = Message {
            id: 1,
            contact: "Bob".into(),
            direction: Direction::In,
            state: MessageState::Received,
            kind: Kind::Text,
            text: Some("hi".into()),
            name: None,
            size: None,
            path: None,
            at: "2023-11-14T22:13:20Z".into(),
            reason: None,
        };
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(
            json,
            r#"{"id":1,"contact":"Bob","direction":"in","state":"received","kind":"text","text":"hi","name":null,"size":null,"path":null,"at":"2023-11-14T22:13:20Z"}"#
        );
    }
}
