//! Every size on the wire, in bytes, in one place. Nothing else in the project states a size of its own.
//!
//! Origins: the Sphinx sizes are those of `sphinx-packet` 0.8 at packet version 260 and are checked against the crate by a
//! test; the others follow from them by the sums written here, which the compiler evaluates.

/// Hops of every route, forward and reply: the maximum of the Sphinx format.
pub const ROUTE_HOPS: usize = 5;
/// Mixing delays of a route: the last hop of a Sphinx route has none.
pub const ROUTE_DELAYS: usize = ROUTE_HOPS - 1;
/// Layers of mixes between an entry and a mailbox.
pub const MIX_LAYERS: usize = 3;

/// Sphinx header: group element, MAC, routing information.
pub const SPHINX_HEADER: usize = 348;
/// Sphinx payload, a wide block that every hop encrypts whole.
pub const SPHINX_PAYLOAD: usize = 4_096;
/// Zero bytes and padding mark inside the payload.
pub const SPHINX_PAYLOAD_OVERHEAD: usize = 17;
/// A whole packet.
pub const PACKET: usize = SPHINX_HEADER + SPHINX_PAYLOAD;
/// Plaintext that a packet carries, forward and reply.
pub const PLAINTEXT: usize = SPHINX_PAYLOAD - SPHINX_PAYLOAD_OVERHEAD;
/// A node's or a session's address inside a Sphinx header.
pub const ADDRESS: usize = 32;
/// The identifier that a reply carries to its last hop.
pub const SURB_ID: usize = 16;
/// A recoverable SURB: header, first hop's address, one payload key seed.
pub const SURB: usize = SPHINX_HEADER + ADDRESS + 16;
/// The nanoseconds, tags and keys that a node keeps of a SURB it made, serialized.
pub const SURB_RECOVERY: usize = SURB_ID + ROUTE_HOPS * 16;

/// A mailbox command: what a forward packet's plaintext holds behind the SURB.
pub const COMMAND: usize = PLAINTEXT - SURB;
/// A mailbox reply: the whole plaintext of a reply packet.
pub const REPLY: usize = PLAINTEXT;

/// Frame header: kind, flags, two reserved bytes.
pub const FRAME_HEADER: usize = 4;
/// Frame body; a packet fills it exactly.
pub const FRAME_BODY: usize = PACKET;
/// A frame, the one unit that crosses a link.
pub const FRAME: usize = FRAME_HEADER + FRAME_BODY;

/// Ed25519 public key, X25519 public key, every id.
pub const KEY: usize = 32;
/// Ed25519 signature.
pub const SIGNATURE: usize = 64;
/// SHA-256 output.
pub const HASH: usize = 32;
/// AEAD tag of AES-256-GCM-SIV.
pub const AEAD_TAG: usize = 16;

/// Room for a client puzzle's solution in a Put; all zero while the document's effort is 0.
pub const PUZZLE: usize = 32;
/// Room for an anonymous token in a Put; all zero until tokens exist.
pub const TOKEN: usize = 160;
/// What a box holds, sealed.
pub const BOX_CIPHERTEXT: usize = 3_336;
/// What a box holds, opened.
pub const BOX_PLAINTEXT: usize = BOX_CIPHERTEXT - AEAD_TAG;

/// First bytes of the network document's hash, in every reply and digest.
pub const DOCUMENT_HASH_PREFIX: usize = 8;
/// A box's tag in a digest.
pub const DIGEST_TAG: usize = 6;
/// Tags that one digest holds at most; what is more waits for the next tick. At the default tick that is 4,096 Puts a second.
pub const DIGEST_MAX_TAGS: usize = 16_384;
/// A digest without its tags: label-free fields and signature, see [`crate::digest`].
pub const DIGEST_FIXED: usize = KEY + DOCUMENT_HASH_PREFIX + KEY + 2 + 4 + HASH + 4 + SIGNATURE;
/// A digest at most.
pub const DIGEST_MAX: usize = DIGEST_FIXED + DIGEST_MAX_TAGS * DIGEST_TAG;

/// Tags that one part of a set holds at most: about 500 kB, 14 s of a young downlink. A link that ends costs no more than that.
pub const SET_PART_TAGS: usize = 1 << 17;
/// Parts of a set at most: 8 million boxes, 28 MB, of one period at one mailbox.
pub const SET_PARTS_MAX: usize = 64;
/// A part of a set without its codes, see [`crate::set`].
pub const SET_FIXED: usize = KEY + DOCUMENT_HASH_PREFIX + KEY + 2 + 1 + 4 + 4 + 2 + 2 + 4 + 2 * DIGEST_TAG + SIGNATURE;
/// A part of a set at most. Where 131,072 tags span all numbers, k is 30: 31 bits each and not more than three ones more on average.
pub const SET_MAX: usize = SET_FIXED + SET_PART_TAGS * 34 / 8;

/// A node's descriptor at most.
pub const DESCRIPTOR_MAX: usize = 4_096;
/// A signed network document at most (10,000 nodes with 13 keys each fit).
pub const DOCUMENT_MAX: usize = 16 * 1024 * 1024;

const _: () =
    assert!(PACKET == 4_444 && FRAME == 4_448 && COMMAND == 3_683 && SURB == 396 && DIGEST_MAX < u32::MAX as usize);
