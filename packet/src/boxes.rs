//! Boxes: what a mailbox holds. A *stream* is a one-way queue from one writer to one reader, each message in a box of its
//! own whose id is the stream's public key under the box's blinding factor.
//!
//! ```text
//! root --> signing key A, state_0          state_i --> state_i+1, factor b_i, key k_i, ack secret a_i     (HKDF)
//! box id_i = b_i A        ciphertext = AEAD(k_i, content)        ack hash = H(a_i)
//! content hash = H(label, network, box id, district, class, ack hash, ciphertext)
//! signature    = Sign(b_i a, label | box id | content hash | expiry)
//! ```
//!
//! **What blinding demands.** tor-llcrypto derives the nonce prefix of a blinded key from the root key alone, so all boxes of
//! a stream share it: two signatures of equal bytes under two factors would have the same R and give a reader, who knows both
//! factors, the stream's secret key. Hence the box id, which differs per box, is inside the signed bytes, always. And a
//! blinded secret divided by its factor is the root secret: blinded keypairs live on the stack and are never stored.
//!
//! **Renewing.** The same box may be signed again under another expiry, long after the chain has gone on ([`WriteCap::renew`]).
//! Ed25519 nonces are r = H(prefix, signed bytes): two signatures of one box differ in the expiry, so in r, and are two ordinary
//! signatures under one key; the same expiry again gives the same signature, byte for byte. Equal signed bytes under two keys,
//! the one dangerous case, would need two boxes with one id. So a box may be renewed any number of times. What it takes beside
//! the stream's seed is the box's blinding factor ([`RenewalKey`]) and not the chain's state: the factor links the box to its
//! stream, which the writer's store does anyway, and opens neither this box nor any other.

use crate::{
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{BOX_CIPHERTEXT, BOX_PLAINTEXT, DIGEST_TAG, HASH, KEY, SIGNATURE},
    ids::{BoxId, District, NetworkId},
    primitives::{Secret32, expand, hash, label, open, seal, sign_blinded, verify},
    time::Day,
};
use tor_llcrypto::pk::{
    ed25519::{ExpandedKeypair, Keypair, PublicKey},
    keymanip::{blind_keypair, blind_pubkey},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Content that fits a box: the plaintext less its own length field.
pub const BOX_CONTENT_MAX: usize = BOX_PLAINTEXT - 2;

/// Who may write a box.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum BoxClass {
    /// One writer: any holder accepts.
    Solo = 0,
    /// Several may try: the first holder in hash order decides the first write.
    Contested = 1,
}

impl BoxClass {
    /// From its byte on the wire.
    pub fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::Solo),
            1 => Ok(Self::Contested),
            _ => Err(DecodeError::Invalid("box class")),
        }
    }
}

/// H(label, network, box id, district, class, ack hash, ciphertext): equal hashes mean equal boxes, whatever their expiry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; HASH]);

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentHash(..)")
    }
}

/// The tag by which a digest names a box.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoxTag(pub [u8; DIGEST_TAG]);

impl BoxTag {
    /// H(label, box id), cut.
    pub fn of(id: &BoxId) -> Self {
        let full = hash(label::DIGEST_TAG, &[id.as_bytes()]);
        Self(*full.first_chunk().expect("a hash is longer than a tag"))
    }
}

impl std::fmt::Debug for BoxTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxTag(..)")
    }
}

/// A box as it travels and is stored: everything but its id is covered by the signature under its id.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBox {
    /// The box.
    pub id: BoxId,
    /// The district it belongs to.
    pub district: District,
    /// Who may write it.
    pub class: BoxClass,
    /// The last day on which it is kept.
    pub expiry: Day,
    /// The writer's signature.
    pub signature: [u8; SIGNATURE],
    /// Hash of the secret that deletes it.
    pub ack_hash: [u8; HASH],
    /// The sealed content.
    pub ciphertext: Box<[u8; BOX_CIPHERTEXT]>,
}

impl std::fmt::Debug for SealedBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedBox").field("class", &self.class).finish_non_exhaustive()
    }
}

impl SealedBox {
    /// Size of [`SealedBox::to_bytes`].
    pub const SIZE: usize = KEY + 2 + 1 + 4 + SIGNATURE + HASH + BOX_CIPHERTEXT;

    /// The box's content hash in this network.
    pub fn content_hash(&self, network: &NetworkId) -> ContentHash {
        ContentHash(hash(
            label::BOX_CONTENT,
            &[
                network.as_bytes(),
                self.id.as_bytes(),
                &self.district.0.to_be_bytes(),
                &[self.class as u8],
                &self.ack_hash,
                &self.ciphertext[..],
            ],
        ))
    }

    /// Checks the writer's signature, strictly; gives the content hash. Costs one signature verification (about 45 us).
    pub fn verify(&self, network: &NetworkId) -> Option<ContentHash> {
        let content = self.content_hash(network);
        let message = signed_message(&self.id, &content, self.expiry);
        verify(self.id.as_bytes(), label::BOX_SIGNATURE, &message, &self.signature).then_some(content)
    }

    /// True if this is the secret that deletes the box.
    pub fn opens_ack(&self, secret: &[u8; KEY]) -> bool {
        let given = hash(label::ACK_HASH, &[secret]);
        subtle::ConstantTimeEq::ct_eq(&given[..], &self.ack_hash[..]).into()
    }

    /// Appends the box's fields.
    pub fn write(&self, writer: &mut Writer) {
        writer.put(self.id.as_bytes()).u16(self.district.0).u8(self.class as u8).u32(self.expiry.0);
        writer.put(&self.signature).put(&self.ack_hash).put(&self.ciphertext[..]);
    }

    /// Reads the box's fields. The signature is not checked here.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            id: BoxId(reader.array()?),
            district: District(reader.u16()?),
            class: BoxClass::from_byte(reader.u8()?)?,
            expiry: Day(reader.u32()?),
            signature: reader.array()?,
            ack_hash: reader.array()?,
            ciphertext: Box::new(reader.array()?),
        })
    }

    /// As stored on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(Self::SIZE);
        self.write(&mut writer);
        writer.finish()
    }

    /// From disk. The signature is not checked here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let sealed = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(sealed)
    }

    fn associated(network: &NetworkId, id: &BoxId, district: District, class: BoxClass) -> Vec<u8> {
        let mut writer = Writer::with_capacity(128);
        writer.put(network.as_bytes()).put(id.as_bytes()).u16(district.0).u8(class as u8);
        writer.finish()
    }
}

fn signed_message(id: &BoxId, content: &ContentHash, expiry: Day) -> Vec<u8> {
    let mut writer = Writer::with_capacity(KEY + HASH + 4);
    writer.put(id.as_bytes()).put(&content.0).u32(expiry.0);
    writer.finish()
}

/// Where a stream stands: the state from which the keys of box `index` and of all later boxes follow, and of no earlier one.
/// Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Chain {
    state: [u8; KEY],
    index: u64,
}

impl Chain {
    fn advance(&mut self) {
        self.state = expand(&self.state, label::BOX_NEXT);
        self.index += 1;
    }

    fn blind(&self) -> [u8; KEY] {
        expand(&self.state, label::BOX_BLIND)
    }

    fn key(&self) -> Secret32 {
        Secret32::new(expand(&self.state, label::BOX_KEY))
    }

    fn ack(&self) -> Secret32 {
        Secret32::new(expand(&self.state, label::BOX_ACK))
    }
}

/// The 32 random bytes that a stream begins with. Whoever has them can write and read all of it. Wiped on drop.
#[derive(Clone, Debug)]
pub struct StreamRoot(pub Secret32);

impl StreamRoot {
    /// Takes the bytes; wipe the caller's copy.
    pub fn new(bytes: [u8; KEY]) -> Self {
        Self(Secret32::new(bytes))
    }

    /// The capability to write from box 0 on.
    pub fn write_cap(&self) -> WriteCap {
        WriteCap {
            seed: self.0.derive(label::STREAM_KEY),
            chain: Chain { state: *self.0.derive(label::STREAM_STATE).expose(), index: 0 },
        }
    }

    /// The capability to read from box 0 on.
    pub fn read_cap(&self) -> ReadCap {
        self.write_cap().read_cap()
    }
}

/// The capability to write a stream from one index on. Wiped on drop.
pub struct WriteCap {
    seed: Secret32,
    chain: Chain,
}

impl std::fmt::Debug for WriteCap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteCap").field("index", &self.chain.index).finish_non_exhaustive()
    }
}

/// What a writer decides about a box besides its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BoxTerms {
    /// The district it belongs to.
    pub district: District,
    /// Who may write it.
    pub class: BoxClass,
    /// The last day on which it is to be kept.
    pub expiry: Day,
}

/// Content longer than [`BOX_CONTENT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes do not fit a box")]
pub struct ContentTooLong(pub usize);

impl WriteCap {
    /// Index of the next box.
    pub fn index(&self) -> u64 {
        self.chain.index
    }

    /// Leaves boxes out: the next one is `index`. Nothing happens if that lies behind. Two hashes for each box.
    pub fn skip_to(&mut self, index: u64) {
        while self.chain.index < index {
            self.chain.advance();
        }
    }

    /// The capability to read from the same index on.
    pub fn read_cap(&self) -> ReadCap {
        ReadCap { public: self.keypair().public().to_bytes(), chain: self.chain.clone() }
    }

    fn keypair(&self) -> ExpandedKeypair {
        ExpandedKeypair::from(&Keypair::from_bytes(self.seed.expose()))
    }

    /// Seals content into the next box and moves on. An index seals one content, ever: persist the moved capability in the
    /// transaction that persists the box.
    pub fn seal_next(
        &mut self,
        network: &NetworkId,
        terms: BoxTerms,
        content: &[u8],
    ) -> std::result::Result<SealedBox, ContentTooLong> {
        let length = u16::try_from(content.len()).ok().filter(|_| content.len() <= BOX_CONTENT_MAX);
        let Some(length) = length else { return Err(ContentTooLong(content.len())) };
        let blinded = blind_keypair(&self.keypair(), self.chain.blind())
            .expect("a key made from a seed lies in the prime-order group, which blinding stays in");
        let id = BoxId(blinded.public().to_bytes());
        let mut plaintext = Writer::with_capacity(BOX_PLAINTEXT);
        plaintext.u16(length).put(content).pad_to(BOX_PLAINTEXT);
        let mut plaintext = plaintext.finish();
        let associated = SealedBox::associated(network, &id, terms.district, terms.class);
        let ciphertext = seal(self.chain.key().expose(), &associated, &plaintext);
        plaintext.zeroize();
        let mut sealed = SealedBox {
            id,
            district: terms.district,
            class: terms.class,
            expiry: terms.expiry,
            signature: [0; SIGNATURE],
            ack_hash: hash(label::ACK_HASH, &[self.chain.ack().expose()]),
            ciphertext: ciphertext.try_into().map(Box::new).expect("plaintext and tag have one size"),
        };
        let message = signed_message(&id, &sealed.content_hash(network), terms.expiry);
        sealed.signature = sign_blinded(&blinded, label::BOX_SIGNATURE, &message);
        self.chain.advance();
        Ok(sealed)
    }

    /// For the encrypted store: seed, state, index.
    pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        cap_bytes(self.seed.expose(), &self.chain)
    }

    /// From the encrypted store.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (seed, chain) = read_cap_bytes(bytes)?;
        Ok(Self { seed: Secret32::new(seed), chain })
    }
}

/// What it takes, beside the stream's seed, to sign one of its boxes again: the box's blinding factor. Wiped on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RenewalKey([u8; KEY]);

impl std::fmt::Debug for RenewalKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RenewalKey(..)")
    }
}

impl RenewalKey {
    /// From the encrypted store; wipe the caller's copy.
    pub fn new(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }

    /// For the encrypted store. Secret.
    pub fn expose(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl WriteCap {
    /// What it will take to renew the next box. Take it before [`WriteCap::seal_next`] moves on: it cannot be had afterwards.
    pub fn renewal_key(&self) -> RenewalKey {
        RenewalKey(self.chain.blind())
    }

    /// The same box, to be kept until another day: same id, content hash and ciphertext, a new signature. See the module's
    /// documentation for why this is safe at an index that the chain has passed. Moves nothing.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] if the key is not that of this box in this stream.
    pub fn renew(&self, network: &NetworkId, key: &RenewalKey, sealed: &SealedBox, expiry: Day) -> Result<SealedBox> {
        let blinded = blind_keypair(&self.keypair(), key.0).map_err(|_| DecodeError::Invalid("renewal key"))?;
        if blinded.public().to_bytes() != sealed.id.0 {
            return Err(DecodeError::Invalid("renewal key"));
        }
        let message = signed_message(&sealed.id, &sealed.content_hash(network), expiry);
        let signature = sign_blinded(&blinded, label::BOX_SIGNATURE, &message);
        Ok(SealedBox { expiry, signature, ..sealed.clone() })
    }
}

/// The capability to read a stream from one index on. Wiped on drop.
#[derive(Clone)]
pub struct ReadCap {
    public: [u8; KEY],
    chain: Chain,
}

impl std::fmt::Debug for ReadCap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadCap").field("index", &self.chain.index).finish_non_exhaustive()
    }
}

/// One box as its reader knows it before it has it.
#[derive(Clone, Debug)]
pub struct ExpectedBox {
    /// Its index in the stream.
    pub index: u64,
    /// The box.
    pub id: BoxId,
    /// The secret that deletes it.
    pub ack_secret: Secret32,
    key: Secret32,
}

impl ReadCap {
    /// Index of the next box.
    pub fn index(&self) -> u64 {
        self.chain.index
    }

    /// Forgets what is needed to open the next box.
    pub fn advance(&mut self) {
        self.chain.advance();
    }

    /// The next box. Costs one point multiplication (about 45 us).
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] if the stream's public key is not a curve point, which only foreign bytes can bring about.
    pub fn expected(&self) -> Result<ExpectedBox> {
        let public = PublicKey::from_bytes(&self.public).map_err(|_| DecodeError::Invalid("stream key"))?;
        let blinded = blind_pubkey(&public, self.chain.blind()).map_err(|_| DecodeError::Invalid("stream key"))?;
        Ok(ExpectedBox {
            index: self.chain.index,
            id: BoxId(blinded.to_bytes()),
            ack_secret: self.chain.ack(),
            key: self.chain.key(),
        })
    }

    /// The next `count` boxes.
    pub fn window(&self, count: usize) -> Result<Vec<ExpectedBox>> {
        let mut cursor = self.clone();
        let mut boxes = Vec::with_capacity(count.min(1_024));
        for _ in 0..count {
            boxes.push(cursor.expected()?);
            cursor.advance();
        }
        Ok(boxes)
    }

    /// For the encrypted store: public key, state, index.
    pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        cap_bytes(&self.public, &self.chain)
    }

    /// From the encrypted store.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (public, chain) = read_cap_bytes(bytes)?;
        Ok(Self { public, chain })
    }
}

impl ExpectedBox {
    /// Opens the box: checks that it is this box, its signature and its seal.
    ///
    /// # Errors
    /// Says which check failed; a mailbox that answers with such a box is at fault.
    pub fn open(&self, network: &NetworkId, sealed: &SealedBox) -> Result<Vec<u8>> {
        if sealed.id != self.id {
            return Err(DecodeError::Invalid("box id"));
        }
        sealed.verify(network).ok_or(DecodeError::Invalid("box signature"))?;
        let associated = SealedBox::associated(network, &sealed.id, sealed.district, sealed.class);
        let plaintext = open(self.key.expose(), &associated, &sealed.ciphertext[..]);
        let plaintext = zeroize::Zeroizing::new(plaintext.ok_or(DecodeError::Invalid("box seal"))?);
        let mut reader = Reader::new(&plaintext);
        let content = reader.bytes16(BOX_CONTENT_MAX, "box content")?.to_vec();
        reader.finish_padding()?;
        Ok(content)
    }
}

fn cap_bytes(key: &[u8; KEY], chain: &Chain) -> zeroize::Zeroizing<Vec<u8>> {
    let mut writer = Writer::with_capacity(2 * KEY + 8);
    writer.put(key).put(&chain.state).u64(chain.index);
    zeroize::Zeroizing::new(writer.finish())
}

fn read_cap_bytes(bytes: &[u8]) -> Result<([u8; KEY], Chain)> {
    let mut reader = Reader::new(bytes);
    let (key, state, index) = (reader.array()?, reader.array()?, reader.u64()?);
    reader.finish()?;
    Ok((key, Chain { state, index }))
}
