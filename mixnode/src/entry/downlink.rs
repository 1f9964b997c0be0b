//! One client's downlink: what waits, and the clock that decides when a frame leaves.
//!
//! The link from entry to client runs on the entry's own Poisson clock, with a dummy where nothing waits: neither a mailbox
//! nor the network can mark a client's downlink, and its rate says nothing about the client.

use crate::DropReason;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use veilpost_packet::{
    frame::{Flags, Frame, FrameKind, RecordCutter},
    geometry::PACKET,
    profile::Profile,
    random::{EngineRng, exponential},
    sphinx::Packet,
    time::Timestamp,
};
use veilpost_pki::Params;

/// Of this many ticks in a row, one is the replies' if one waits: so digests go first, as they must when a mailbox floods
/// replies, and a long history still does not hold replies up for minutes.
const STREAM_SHARE: u32 = 4;
/// After a pause of the daemon longer than this the clock starts anew instead of sending what was missed in a burst.
const MISSED_MAX: Duration = Duration::from_secs(1);

/// Queues and clock of one session.
#[derive(Debug)]
pub struct Downlink {
    opened: Timestamp,
    profile: Profile,
    next: Timestamp,
    rng: EngineRng,
    document: RecordCutter,
    digests: RecordCutter,
    sets: RecordCutter,
    replies: VecDeque<(Flags, Packet)>,
    /// Stream frames since the last reply.
    stream_run: u32,
}

impl Downlink {
    /// Starts the clock, at the rate of the client's profile.
    pub fn new(now: Timestamp, params: &Params, profile: Profile, rng: EngineRng) -> Self {
        let mut downlink = Self {
            opened: now,
            profile,
            next: now,
            rng,
            document: RecordCutter::default(),
            digests: RecordCutter::default(),
            sets: RecordCutter::default(),
            replies: VecDeque::new(),
            stream_run: 0,
        };
        downlink.wind(now, params);
        downlink
    }

    /// When the clock ticks next.
    pub fn next(&self) -> Timestamp {
        self.next
    }

    /// The frame of one tick, and the time of the next: "each tick sends exactly one frame".
    pub fn tick(&mut self, now: Timestamp, params: &Params) -> Frame {
        let from = if now.since(self.next) > MISSED_MAX { now } else { self.next };
        self.wind(from, params);
        let replies_turn = !self.replies.is_empty() && self.stream_run + 1 >= STREAM_SHARE;
        let stream = if replies_turn { None } else { self.stream_frame() };
        if let Some(frame) = stream {
            self.stream_run = self.stream_run.saturating_add(1);
            return frame;
        }
        self.stream_run = 0;
        let reply = self.replies.pop_front();
        reply
            .and_then(|(flags, packet)| Frame::new(FrameKind::Packet, flags, packet.as_bytes()).ok())
            .unwrap_or_else(Frame::dummy)
    }

    fn stream_frame(&mut self) -> Option<Frame> {
        let document = self.document.next_frame(FrameKind::Document);
        // What is said now goes before what was said of days past.
        let digest = document.or_else(|| self.digests.next_frame(FrameKind::Digest));
        digest.or_else(|| self.sets.next_frame(FrameKind::Set))
    }

    /// The clock was set back: what is left to wait is drawn anew, or the next tick would be as far away as the clock jumped. An
    /// exponential wait has no memory, so nobody can tell.
    pub fn rewind(&mut self, now: Timestamp, params: &Params) {
        self.opened = self.opened.min(now);
        self.wind(now, params);
    }

    fn wind(&mut self, from: Timestamp, params: &Params) {
        let young = from.since(self.opened) < params.catch_up;
        let rates = params.rates(self.profile);
        let gap = if young { rates.catch_up_gap } else { rates.downlink_gap };
        self.next = from + exponential(&mut self.rng, gap);
    }

    /// Queues a reply with the flags of its epoch; at the bound the oldest is dropped, since a client has no use for old replies.
    ///
    /// # Errors
    /// [`DropReason::Downlink`] if an older reply had to go.
    pub fn push_reply(&mut self, flags: Flags, packet: Packet, bound: usize) -> Result<(), DropReason> {
        debug_assert_eq!(packet.as_bytes().len(), PACKET, "the packet's type says so");
        let full = self.replies.len() >= bound.max(1);
        if full {
            self.replies.pop_front();
        }
        self.replies.push_back((flags, packet));
        if full { Err(DropReason::Downlink) } else { Ok(()) }
    }

    /// Queues a document if fewer than `bound` bytes of documents wait: a link that takes none for epochs gets no more.
    pub fn push_document(&mut self, bytes: Arc<[u8]>, bound: usize) -> bool {
        let room = self.document.queued() + bytes.len() <= bound;
        if room {
            self.document.push(bytes);
        }
        room
    }

    /// Queues a digest if fewer than `bound` bytes wait. One that is left out leaves a gap in the chain of digests, which
    /// the client sees and asks for.
    pub fn push_digest(&mut self, bytes: Arc<[u8]>, bound: usize) -> bool {
        let room = self.digests.queued() + bytes.len() <= bound;
        if room {
            self.digests.push(bytes);
        }
        room
    }

    /// Queues a part of a set if fewer than `bound` bytes of sets wait. One that is left out is asked for again.
    pub fn push_set(&mut self, bytes: Arc<[u8]>, bound: usize) -> bool {
        let room = self.sets.queued() + bytes.len() <= bound;
        if room {
            self.sets.push(bytes);
        }
        room
    }

    /// Replies that wait.
    pub fn replies(&self) -> usize {
        self.replies.len()
    }

    /// Bytes of streams that wait.
    pub fn stream_bytes(&self) -> usize {
        self.document.queued() + self.digests.queued() + self.sets.queued()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veilpost_packet::{frame::RecordJoiner, random::seeded};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const FLAGS: Flags = Flags::for_epoch(veilpost_packet::time::Epoch(7));

    fn packet(fill: u8) -> Packet {
        Packet::from_bytes(&[fill; PACKET]).unwrap()
    }

    fn ticks(downlink: &mut Downlink, params: &Params, until: Timestamp) -> Vec<(Timestamp, Frame)> {
        let mut frames = Vec::new();
        while downlink.next() <= until {
            let now = downlink.next();
            frames.push((now, downlink.tick(now, params)));
        }
        frames
    }

    #[test]
    fn an_idle_downlink_sends_dummies_at_the_documents_rate() {
        let params = Params::standard();
        let mut downlink = Downlink::new(NOW, &params, Profile::Standard, seeded([1; 32]));
        let young = ticks(&mut downlink, &params, NOW + params.catch_up);
        assert!(young.iter().all(|(_, frame)| frame.kind() == FrameKind::Dummy));
        // 900 s at 8 frames/s: 7,200 expected, standard deviation 85.
        assert!((6_800..7_600).contains(&young.len()), "{}", young.len());
        let later = ticks(&mut downlink, &params, NOW + params.catch_up + Duration::from_secs(10_000));
        // At 1/0.68 s: 14,706 expected, standard deviation 121.
        assert!((14_100..15_300).contains(&later.len()), "{}", later.len());
    }

    #[test]
    fn what_waits_does_not_change_the_clock() {
        let params = Params::standard();
        let mut idle = Downlink::new(NOW, &params, Profile::Standard, seeded([2; 32]));
        let mut busy = Downlink::new(NOW, &params, Profile::Standard, seeded([2; 32]));
        busy.push_document(vec![7; 100_000].into(), 1 << 20);
        for fill in 0..50 {
            busy.push_reply(FLAGS, packet(fill), 100).unwrap();
        }
        let until = NOW + Duration::from_secs(30);
        let times = |frames: Vec<(Timestamp, Frame)>| frames.into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(times(ticks(&mut idle, &params, until)), times(ticks(&mut busy, &params, until)));
    }

    #[test]
    fn streams_go_before_replies_and_leave_them_a_share() {
        let params = Params::standard();
        let mut downlink = Downlink::new(NOW, &params, Profile::Standard, seeded([3; 32]));
        let document: Arc<[u8]> = vec![7; 40_000].into();
        let digest: Arc<[u8]> = vec![9; 20_000].into();
        assert!(downlink.push_document(document.clone(), 1 << 20));
        assert!(!downlink.push_document(document.clone(), document.len() + 1));
        assert!(downlink.push_digest(digest.clone(), 1 << 20));
        for fill in 0..3 {
            downlink.push_reply(FLAGS, packet(fill), 10).unwrap();
        }
        let frames = ticks(&mut downlink, &params, NOW + Duration::from_secs(10));
        let kinds: Vec<_> = frames.iter().map(|(_, frame)| frame.kind()).take(8).collect();
        let stream = FrameKind::Document;
        assert_eq!(kinds, [stream, stream, stream, FrameKind::Packet, stream, stream, stream, FrameKind::Packet]);
        for (kind, expected) in [(FrameKind::Document, document), (FrameKind::Digest, digest)] {
            let mut joiner = RecordJoiner::new(1 << 20);
            let of_kind = frames.iter().filter(|(_, frame)| frame.kind() == kind);
            let records: Vec<_> = of_kind.flat_map(|(_, frame)| joiner.push(frame.body()).unwrap()).collect();
            assert_eq!(records, [expected.to_vec()]);
        }
        assert_eq!((downlink.replies(), downlink.stream_bytes()), (0, 0));
    }

    #[test]
    fn at_the_bound_the_oldest_reply_goes() {
        let params = Params::standard();
        let mut downlink = Downlink::new(NOW, &params, Profile::Standard, seeded([4; 32]));
        downlink.push_reply(FLAGS, packet(1), 2).unwrap();
        downlink.push_reply(FLAGS, packet(2), 2).unwrap();
        assert_eq!(downlink.push_reply(FLAGS, packet(3), 2), Err(DropReason::Downlink));
        let frames = ticks(&mut downlink, &params, NOW + Duration::from_secs(5));
        assert_eq!((frames[0].1.body()[0], frames[1].1.body()[0]), (2, 3));
    }

    #[test]
    fn at_the_bound_a_digest_is_left_out() {
        let mut downlink = Downlink::new(NOW, &Params::standard(), Profile::Standard, seeded([4; 32]));
        assert!(downlink.push_digest(vec![0; 600].into(), 1_000));
        assert!(!downlink.push_digest(vec![0; 600].into(), 1_000));
        assert!(downlink.push_digest(vec![0; 300].into(), 1_000));
    }

    #[test]
    fn after_a_pause_missed_ticks_are_not_sent_in_a_burst() {
        let params = Params::standard();
        let mut downlink = Downlink::new(NOW, &params, Profile::Standard, seeded([5; 32]));
        let later = NOW + Duration::from_secs(600);
        downlink.tick(later, &params);
        assert!(downlink.next() > later);
    }
}
