//! A node's own statement for an epoch, signed by its identity key.

use crate::reliability::{Measured, read_reports, write_reports};
use std::net::SocketAddr;
use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{DESCRIPTOR_MAX, SIGNATURE},
    ids::{LinkKey, NodeId},
    primitives::{SigningSecret, label, verify},
    sphinx::SphinxPublic,
    time::Epoch,
};

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// Mixes packets in one of the layers.
    Mix = 1,
    /// Connects clients.
    Entry = 2,
    /// Keeps boxes.
    Mailbox = 3,
}

impl Role {
    /// From its byte on the wire.
    pub fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            1 => Ok(Self::Mix),
            2 => Ok(Self::Entry),
            3 => Ok(Self::Mailbox),
            _ => Err(DecodeError::Invalid("role")),
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mix => "mix",
            Self::Entry => "entry",
            Self::Mailbox => "mailbox",
        })
    }
}

/// Addresses that a node lists at most.
pub const ADDRESSES_MAX: usize = 4;
/// Sphinx keys that a descriptor lists at most: this epoch's and the next 12.
pub const SPHINX_KEYS_MAX: usize = 13;
/// A full mailbox, in percent.
pub const FILL_MAX: u8 = 100;
/// Longest software version, family name or onion address, in bytes.
pub const WORD_MAX: usize = 80;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Its identity key, also its Sphinx address.
    pub id: NodeId,
    /// The epoch of the first Sphinx key.
    pub epoch: Epoch,
    /// What it does.
    pub role: Role,
    /// Where it listens for QUIC.
    pub addresses: Vec<SocketAddr>,
    /// Its onion service, if any.
    pub onion: Option<String>,
    /// The key that it proves on links.
    pub link_key: LinkKey,
    /// Sphinx keys of `epoch` and the epochs after it.
    pub sphinx_keys: Vec<SphinxPublic>,
    /// Version of its software.
    pub software: String,
    /// The operator's family: nodes of one family never share a route.
    pub family: String,
    /// Packets a second that it is willing to carry.
    pub capacity: u32,
    /// How much of what it may store is in use, 0 to [`FILL_MAX`] percent; 0 for all but mailboxes. What it asks of those who write
    /// follows from the fill of most mailboxes: see [`crate::effort`].
    pub fill: u8,
    /// Nodes that its loops found unreliable, worst first: see [`crate::reliability`].
    pub measured: Vec<Measured>,
}

impl Descriptor {
    /// Signs the descriptor: its bytes and the signature behind them.
    pub fn sign(&self, secret: &SigningSecret) -> Vec<u8> {
        let mut writer = Writer::with_capacity(1_024);
        self.write(&mut writer);
        let mut bytes = writer.finish();
        let signature = secret.sign(label::DESCRIPTOR_SIGNATURE, &bytes);
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Decodes a descriptor and checks that the node itself signed it.
    pub fn verify(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > DESCRIPTOR_MAX {
            return Err(DecodeError::TooLong("descriptor"));
        }
        let (signed, signature) = bytes.split_last_chunk::<SIGNATURE>().ok_or(DecodeError::Truncated)?;
        let mut reader = Reader::new(signed);
        let descriptor = Self::read(&mut reader)?;
        reader.finish()?;
        if !verify(descriptor.id.as_bytes(), label::DESCRIPTOR_SIGNATURE, signed, signature) {
            return Err(DecodeError::Invalid("descriptor signature"));
        }
        Ok(descriptor)
    }

    fn write(&self, writer: &mut Writer) {
        writer.u8(1).put(self.id.as_bytes()).u64(self.epoch.0).u8(self.role as u8);
        write_addresses(writer, &self.addresses);
        writer.bytes16(self.onion.as_deref().unwrap_or("").as_bytes()).put(self.link_key.as_bytes());
        writer.u8(self.sphinx_keys.len() as u8);
        for key in &self.sphinx_keys {
            writer.put(&key.0);
        }
        writer.bytes16(self.software.as_bytes()).bytes16(self.family.as_bytes()).u32(self.capacity).u8(self.fill);
        write_reports(writer, &self.measured);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        if reader.u8()? != 1 {
            return Err(DecodeError::Invalid("descriptor version"));
        }
        let id = NodeId(reader.array()?);
        let epoch = Epoch(reader.u64()?);
        let role = Role::from_byte(reader.u8()?)?;
        let addresses = read_addresses(reader)?;
        let onion =
            Some(reader.text16(WORD_MAX, "onion address")?).filter(|onion| !onion.is_empty()).map(str::to_owned);
        let link_key = LinkKey(reader.array()?);
        let count = usize::from(reader.u8()?);
        if count == 0 || count > SPHINX_KEYS_MAX {
            return Err(DecodeError::TooLong("Sphinx keys"));
        }
        let sphinx_keys = (0..count).map(|_| reader.array().map(SphinxPublic)).collect::<Result<_>>()?;
        let descriptor = Self {
            id,
            epoch,
            role,
            addresses,
            onion,
            link_key,
            sphinx_keys,
            software: reader.text16(WORD_MAX, "software version")?.to_owned(),
            family: reader.text16(WORD_MAX, "family")?.to_owned(),
            capacity: reader.u32()?,
            fill: reader.u8()?,
            measured: read_reports(reader, &id)?,
        };
        let most = if role == Role::Mailbox { FILL_MAX } else { 0 };
        if descriptor.fill > most { Err(DecodeError::Invalid("fill")) } else { Ok(descriptor) }
    }
}

pub(crate) fn write_addresses(writer: &mut Writer, addresses: &[SocketAddr]) {
    writer.u8(addresses.len().min(ADDRESSES_MAX) as u8);
    for address in addresses.iter().take(ADDRESSES_MAX) {
        writer.bytes16(address.to_string().as_bytes());
    }
}

pub(crate) fn read_addresses(reader: &mut Reader<'_>) -> Result<Vec<SocketAddr>> {
    let count = usize::from(reader.u8()?);
    if count > ADDRESSES_MAX {
        return Err(DecodeError::TooLong("addresses"));
    }
    let address = |reader: &mut Reader<'_>| {
        reader.text16(WORD_MAX, "address")?.parse().map_err(|_| DecodeError::Invalid("address"))
    };
    (0..count).map(|_| address(reader)).collect()
}
