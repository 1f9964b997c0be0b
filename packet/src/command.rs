//! Mailbox commands and replies: each padded to one size, the status inside, so that nothing outside tells them apart.
//!
//! ```text
//! command (3,683 B, behind a SURB of 396): kind 1 | fields | zeros
//!   put  1: box 3,471 | puzzle 32 | token 160        get 2: box id 32 | district 2
//!   ack  3: box id 32 | district 2 | ack secret 32   loop 4: nothing
//! reply (4,079 B): document hash 8 | newest digest 4 | status 1 | fields | zeros
//!   stored 1: 2 x (holder 32 | signature 64)         found 4: box
//! ```
//!
//! Over a byte stream to the mailbox's onion service there is no packet around them: command and reply are the body of a frame each, of
//! kind Command and Reply, padded like every other.

use crate::{
    boxes::{ContentHash, SealedBox},
    codec::{DecodeError, Reader, Result, Writer},
    frame::{Flags, Frame, FrameKind},
    geometry::{COMMAND, KEY, PLAINTEXT, PUZZLE, REPLY, SIGNATURE, SURB, TOKEN},
    ids::{BoxId, District, DocumentHash, NetworkId, NodeId},
    primitives::{Secret32, SigningSecret, label, verify},
    sphinx::{self, Surb},
    time::{Day, Epoch, Tick},
};

/// What a client asks of a mailbox.
#[derive(Clone, Debug)]
pub enum Command {
    /// Store a box.
    Put {
        /// The box.
        sealed: Box<SealedBox>,
        /// The solution of the puzzle that the document asks for, see [`crate::puzzle`]; zero while it asks for none.
        puzzle: [u8; PUZZLE],
        /// An anonymous token; zero until tokens exist.
        token: Box<[u8; TOKEN]>,
    },
    /// Hand out a box.
    Get {
        /// The box.
        id: BoxId,
        /// Its district.
        district: District,
    },
    /// Delete a box.
    Ack {
        /// The box.
        id: BoxId,
        /// Its district.
        district: District,
        /// The secret whose hash the box holds.
        secret: Secret32,
    },
    /// Nothing: come back.
    Loop,
}

impl Command {
    /// A Put without puzzle and token.
    pub fn put(sealed: SealedBox) -> Self {
        Self::Put { sealed: Box::new(sealed), puzzle: [0; PUZZLE], token: Box::new([0; TOKEN]) }
    }

    /// The plaintext of the packet that carries this command.
    pub fn encode(&self, surb: &Surb) -> Vec<u8> {
        sphinx::join(surb, &self.fields())
    }

    /// The frame that carries this command over a stream to the mailbox itself, worked out by the document of this epoch.
    pub fn to_frame(&self, epoch: Epoch) -> Frame {
        let frame = Frame::new(FrameKind::Command, Flags::for_epoch(epoch), &self.fields());
        frame.expect("a command is shorter than a frame's body")
    }

    fn fields(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(COMMAND);
        match self {
            Self::Put { sealed, puzzle, token } => {
                writer.u8(1);
                sealed.write(&mut writer);
                writer.put(puzzle).put(&token[..]);
            }
            Self::Get { id, district } => {
                writer.u8(2).put(id.as_bytes()).u16(district.0);
            }
            Self::Ack { id, district, secret } => {
                writer.u8(3).put(id.as_bytes()).u16(district.0).put(secret.expose());
            }
            Self::Loop => {
                writer.u8(4);
            }
        }
        writer.finish()
    }

    /// From the plaintext of a packet.
    pub fn decode(plaintext: &[u8]) -> Result<(Surb, Self)> {
        let mut reader = Reader::new(plaintext);
        let surb = Surb::from_bytes(&reader.array::<SURB>()?)?;
        let command = Self::read(&mut reader)?;
        if plaintext.len() < PLAINTEXT {
            return Err(DecodeError::Truncated);
        }
        if plaintext.len() > PLAINTEXT {
            return Err(DecodeError::Trailing);
        }
        reader.finish_padding()?;
        Ok((surb, command))
    }

    /// From the body of a frame of kind Command.
    pub fn from_body(body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let command = Self::read(&mut reader)?;
        reader.finish_padding()?;
        Ok(command)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(match reader.u8()? {
            1 => Self::Put {
                sealed: Box::new(SealedBox::read(reader)?),
                puzzle: reader.array()?,
                token: Box::new(reader.array()?),
            },
            2 => Self::Get { id: BoxId(reader.array()?), district: District(reader.u16()?) },
            3 => Self::Ack {
                id: BoxId(reader.array()?),
                district: District(reader.u16()?),
                secret: Secret32::new(reader.array()?),
            },
            4 => Self::Loop,
            _ => return Err(DecodeError::Invalid("command")),
        })
    }
}

/// One holder's word that a box is on its disk until the end of its expiry day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HolderSignature {
    /// The mailbox.
    pub holder: NodeId,
    /// Over network, box id, content hash and expiry.
    pub signature: [u8; SIGNATURE],
}

impl HolderSignature {
    /// "No second holder": what a network with W = 1 answers.
    pub const NONE: HolderSignature = HolderSignature { holder: NodeId([0; KEY]), signature: [0; SIGNATURE] };

    /// Signs that a box is stored.
    pub fn sign(secret: &SigningSecret, network: &NetworkId, id: &BoxId, content: &ContentHash, expiry: Day) -> Self {
        let message = stored_message(network, id, content, expiry);
        Self { holder: secret.node_id(), signature: secret.sign(label::STORED_SIGNATURE, &message) }
    }

    /// Checks the signature; that the holder is a mailbox of the document is the caller's check.
    pub fn verify(&self, network: &NetworkId, id: &BoxId, content: &ContentHash, expiry: Day) -> bool {
        let message = stored_message(network, id, content, expiry);
        verify(self.holder.as_bytes(), label::STORED_SIGNATURE, &message, &self.signature)
    }
}

fn stored_message(network: &NetworkId, id: &BoxId, content: &ContentHash, expiry: Day) -> Vec<u8> {
    let mut writer = Writer::with_capacity(100);
    writer.put(network.as_bytes()).put(id.as_bytes()).put(&content.0).u32(expiry.0);
    writer.finish()
}

/// What a mailbox answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The box is on the disks of these holders.
    Stored([HolderSignature; 2]),
    /// On fewer disks than the document asks for: ask again.
    Pending,
    /// No room: the box is not stored.
    Full,
    /// Another content is there already.
    Conflict,
    /// Here it is.
    Found(Box<SealedBox>),
    /// Not here.
    Absent,
    /// It was here and has been acknowledged.
    Gone,
    /// A loop came by.
    Looped,
    /// The command breaks a rule: bad signature, expiry out of range, unknown district.
    Refused,
}

/// A reply of one size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Of the document that the mailbox works by.
    pub document: DocumentHash,
    /// The newest digest that the mailbox has published.
    pub newest_digest: Tick,
    /// The answer.
    pub answer: Answer,
}

impl Reply {
    /// The plaintext of the packet that carries this reply.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(REPLY);
        writer.put(&self.document.0).u32(self.newest_digest.0);
        match &self.answer {
            Answer::Stored(holders) => {
                writer.u8(1);
                for holder in holders {
                    writer.put(holder.holder.as_bytes()).put(&holder.signature);
                }
            }
            Answer::Found(sealed) => {
                writer.u8(4);
                sealed.write(&mut writer);
            }
            plain => {
                writer.u8(match plain {
                    Answer::Pending => 2,
                    Answer::Full => 3,
                    Answer::Conflict => 5,
                    Answer::Absent => 6,
                    Answer::Gone => 7,
                    Answer::Looped => 8,
                    Answer::Refused | Answer::Stored(_) | Answer::Found(_) => 9,
                });
            }
        }
        writer.pad_to(REPLY);
        writer.finish()
    }

    /// The frame that carries a reply's plaintext over a stream.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] for what [`Reply::encode`] did not make.
    pub fn to_frame(plaintext: &[u8]) -> Result<Frame> {
        Frame::new(FrameKind::Reply, Flags::default(), plaintext)
    }

    /// From the body of a frame of kind Reply.
    pub fn from_body(body: &[u8]) -> Result<Self> {
        let (plaintext, padding) = body.split_at_checked(REPLY).ok_or(DecodeError::Truncated)?;
        Reader::new(padding).finish_padding()?;
        Self::decode(plaintext)
    }

    /// From the plaintext of a packet.
    pub fn decode(plaintext: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(plaintext);
        let document = DocumentHash(reader.array()?);
        let newest_digest = Tick(reader.u32()?);
        let holder = |reader: &mut Reader<'_>| {
            Ok(HolderSignature { holder: NodeId(reader.array()?), signature: reader.array()? })
        };
        let answer = match reader.u8()? {
            1 => Answer::Stored([holder(&mut reader)?, holder(&mut reader)?]),
            2 => Answer::Pending,
            3 => Answer::Full,
            4 => Answer::Found(Box::new(SealedBox::read(&mut reader)?)),
            5 => Answer::Conflict,
            6 => Answer::Absent,
            7 => Answer::Gone,
            8 => Answer::Looped,
            9 => Answer::Refused,
            _ => return Err(DecodeError::Invalid("answer")),
        };
        if plaintext.len() < REPLY {
            return Err(DecodeError::Truncated);
        }
        if plaintext.len() > REPLY {
            return Err(DecodeError::Trailing);
        }
        reader.finish_padding()?;
        Ok(Self { document, newest_digest, answer })
    }
}
