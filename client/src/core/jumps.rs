//! What a computer's clock does to an engine that reads it: it may be set ahead, or back.
//!
//! Ticks move with the clock, so that neither a burst nor a silence follows. What waits for a moment waits on for as long as
//! it would have: a moment that a wrong clock named hours ahead would else keep a message for hours. A process or machine that slept
//! is no jump; `traffic` makes up for nothing that was missed.

use super::{Core, WARNING};
use std::time::Duration;
use veilpost_packet::time::Timestamp;

/// Time that goes back by more than this was set back; less is waited for.
const SET_BACK: Duration = Duration::from_secs(1);
/// Jumps from here on are told: a digest's tick, which messages are found by.
const TOLD: Duration = Duration::from_secs(4);

/// The computer's clock was set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockJump {
    /// What the clock would have shown.
    pub before: Timestamp,
    /// What it shows.
    pub after: Timestamp,
}

impl ClockJump {
    /// How far, whichever way.
    pub fn by(&self) -> Duration {
        self.after.since(self.before).max(self.before.since(self.after))
    }

    fn moves(&self, moment: Timestamp) -> Timestamp {
        if self.after > self.before { moment + self.by() } else { moment - self.by() }
    }
}

/// Jumps of the clock so far, for the status.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jumps {
    /// The latest time that came in.
    seen: Timestamp,
    last: Option<ClockJump>,
}

impl Core {
    /// The computer's clock was set ahead or back. A shell tells it before the next input if it can; a clock that was set back is
    /// noticed without.
    pub fn handle_clock_jump(&mut self, jump: ClockJump) {
        self.jumps.seen = jump.after;
        if jump.by() >= TOLD {
            self.jumps.last = Some(jump);
        }
        if let Some(clocks) = self.connection.as_mut().and_then(|connection| connection.clocks.as_mut()) {
            clocks.handle_jump(jump.before, jump.after);
        }
        for flight in self.in_flight.values_mut() {
            flight.sent = jump.moves(flight.sent);
        }
        self.suspicion.begin_anew();
        self.next_housekeeping = jump.after;
        // Ahead, what waits is due sooner, which says nothing: all of it leaves by the clocks alone.
        if jump.after < jump.before {
            self.move_waits(&jump);
        }
    }

    fn move_waits(&mut self, jump: &ClockJump) {
        let moved = |moment: &mut Option<Timestamp>| *moment = moment.map(|moment| jump.moves(moment));
        self.outbox.values_mut().for_each(|outgoing| moved(&mut outgoing.retry.next));
        for fetch in self.fetches.values_mut() {
            moved(&mut fetch.due);
            moved(&mut fetch.retry.next);
        }
        self.acks.iter_mut().for_each(|ack| ack.due = jump.moves(ack.due));
        self.audits.values_mut().for_each(|audit| audit.due = jump.moves(audit.due));
        self.invites.values_mut().for_each(|invite| invite.until = jump.moves(invite.until));
        self.accepts.values_mut().for_each(|accept| accept.until = jump.moves(accept.until));
    }

    /// Every time that comes in is looked at: one that lies behind the last is a clock that was set back.
    pub(super) fn notice_time(&mut self, now: Timestamp) {
        let seen = self.jumps.seen;
        if now + SET_BACK < seen {
            self.handle_clock_jump(ClockJump { before: seen, after: now });
        } else {
            self.jumps.seen = seen.max(now);
        }
    }

    /// What a person should know of the computer's clock.
    pub(super) fn clock_warning(&self, now: Timestamp) -> Option<String> {
        let jump = self.jumps.last.filter(|jump| now.since(jump.after) < WARNING)?;
        let (seconds, way) = (jump.by().as_secs(), if jump.after > jump.before { "ahead" } else { "back" });
        let by = match seconds {
            0..120 => format!("{seconds} s"),
            120..7_200 => format!("{} min", (seconds + 30) / 60),
            _ => format!("{} h", (seconds + 1_800) / 3_600),
        };
        Some(format!(
            "this computer's clock jumped {way} by {by}: set it right, and keep it so; messages are found by network time"
        ))
    }
}
