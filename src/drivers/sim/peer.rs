//! The other end of a simulated connection: what it sends, what it takes, and how it misbehaves.
//!
//! A peer knows its streams and its profile, and uses no slot or token; the world tells it when it
//! may act, and carries its bytes.

use std::net::SocketAddr;
use std::time::Duration;

use super::behavior::PeerSchedule;
use super::choices::Choices;
use crate::engine::protocol::message::Message;
use crate::engine::token::{SlotId, Token};

/// How a peer behaves.
#[derive(Clone, Copy, Debug)]
pub struct PeerProfile {
    /// Bytes that it sends of its own accord.
    pub bytes: usize,
    /// Bytes that it lets come before it takes them; the sender's send buffer, as it were.
    pub window: usize,
    /// How it takes what comes.
    pub reading: Reading,
    /// How it goes once it has sent all its bytes.
    pub parting: Parting,
    /// Whether it gives back what it takes, and how well.
    pub echo: Option<Echo>,
}

/// How a peer takes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Within milliseconds.
    Promptly,
    /// With pauses of up to a second.
    WithPauses,
    /// So many bytes at a time, with as much time in between.
    Slowly {
        /// Bytes that it takes at once.
        bytes: u16,
        /// Time until it takes the next.
        every: Duration,
    },
    /// Not at all, until it leaves.
    Never,
}

/// How a peer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It ends its direction and takes what is still to come.
    HalfClose,
    /// It resets the connection.
    Reset,
    /// It stays, until it is told to leave.
    Stay,
}

/// A peer that answers.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// Length of the messages it is sent.
    pub message_bytes: usize,
    /// What it does wrong, once.
    pub fault: Option<EchoFault>,
    /// Bytes of its answers before it does so.
    pub fault_after_bytes: usize,
}

/// What an answering peer does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoFault {
    /// It answers no more, and takes nothing any more.
    Silence,
    /// One bit of a byte is flipped.
    Corruption,
    /// A message comes back twice.
    Repetition,
    /// The answer to a message is the one before it once more.
    Replay,
    /// The answer to a message is a sound one, but of another connection.
    CrossedWires,
    /// It resets the connection.
    Reset,
    /// It ends the connection in order, unasked.
    End,
    /// It never ends its direction after we have ended ours.
    Stubbornness,
}

/// One peer and both its streams.
#[derive(Debug)]
pub struct Peer {
    /// How it behaves; leaving changes it.
    pub profile: PeerProfile,
    /// All that it has sent.
    pub sent: Vec<u8>,
    /// All that has come to it.
    pub received: Vec<u8>,
    /// It was rude until it was told to leave.
    pub was_rude: bool,
    /// It has ended its direction.
    pub has_half_closed: bool,
    /// It has reset the connection.
    pub has_reset: bool,
    /// It was turned away: aborted before it was accepted, or refused.
    pub was_refused: bool,
    /// It has seen the end of our stream.
    pub saw_end: bool,
    /// We have reset the connection.
    pub was_reset: bool,
    /// Our descriptor was closed.
    pub was_closed: bool,
    /// It has done wrong, as its profile demands.
    pub has_erred: bool,
    /// When it came into our slot.
    pub met_at: Duration,
    /// When it last sent something.
    pub spoke_at: Duration,
    /// When it did.
    pub erred_at: Option<Duration>,
    /// What it does instead of answering.
    pub schedule: Option<PeerSchedule>,
    /// Our address and the target, when it was connected to.
    pub tuple: Option<(SocketAddr, usize)>,
    /// Our connect to it has succeeded.
    pub is_connected: bool,
    /// Bytes of `sent` that the endpoint was given.
    pub delivered: usize,
    /// Bytes of `sent` that were read.
    pub read: usize,
    /// Bytes of `received` that it has taken out of its window.
    pub(super) taken: usize,
    /// Bytes of `received` that it has given back.
    echoed: usize,
    /// Bytes of `received` of which the endpoint was told that they are sent.
    pub confirmed: usize,
    /// The connect to it that is not answered; on a wire only.
    pub(super) connecting: Option<Token>,
    /// Our descriptor was closed with bytes that were not read, which resets it; on a wire only.
    pub closed_unread: bool,
    /// Where the world keeps our end of it.
    pub slot: Option<SlotId>,
    /// It has an action planned.
    pub(super) is_due: bool,
    /// The error of its reset was given to the endpoint.
    pub(super) reset_was_read: bool,
}

impl Peer {
    pub(super) fn new(profile: PeerProfile) -> Peer {
        Peer {
            profile,
            sent: Vec::new(),
            received: Vec::new(),
            was_rude: false,
            has_half_closed: false,
            has_reset: false,
            was_refused: false,
            saw_end: false,
            was_reset: false,
            was_closed: false,
            has_erred: false,
            met_at: Duration::ZERO,
            spoke_at: Duration::ZERO,
            erred_at: None,
            schedule: None,
            tuple: None,
            is_connected: false,
            delivered: 0,
            read: 0,
            taken: 0,
            echoed: 0,
            confirmed: 0,
            connecting: None,
            closed_unread: false,
            slot: None,
            is_due: false,
            reset_was_read: false,
        }
    }

    /// A peer that takes part to the end: all its bytes come back, however other peers behave.
    #[must_use]
    pub fn is_well_behaved(&self) -> bool {
        self.profile.reading == Reading::Promptly
            && self.profile.parting == Parting::HalfClose
            && !self.was_rude
            && !self.was_refused
    }

    /// Bytes that can be sent to it now.
    pub(super) fn room(&self) -> usize {
        self.profile.window - (self.received.len() - self.taken)
    }

    /// Bytes that it has sent and that were not read.
    pub(super) fn unread(&self) -> &[u8] {
        &self.sent[self.read..]
    }

    /// Nothing moves between it and us any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.has_reset || self.was_refused || self.was_reset || self.was_closed
    }

    /// Takes what is there, sends a piece, perhaps goes. `true` when it has more to do unasked.
    pub(super) fn act(&mut self, random: &mut Choices) -> bool {
        if self.is_over() {
            return false;
        }
        match self.profile.reading {
            // Another pause: it looks again later.
            Reading::WithPauses if random.u8(..3) == 0 && self.taken < self.received.len() => {
                return true;
            }
            Reading::Promptly | Reading::WithPauses => self.taken = self.received.len(),
            Reading::Slowly { bytes, .. } => {
                let waiting = self.received.len() - self.taken;
                self.taken += waiting.min(bytes.into());
            }
            Reading::Never => {}
        }
        let is_slow = matches!(self.profile.reading, Reading::Slowly { .. });
        let reads_on = is_slow && self.taken < self.received.len();
        if let Some(schedule) = &self.schedule {
            self.end_if_ended(schedule.fault);
            return false;
        }
        match self.profile.echo {
            Some(echo) => self.answer(echo, random) || reads_on,
            None => self.talk(random) || reads_on,
        }
    }

    fn talk(&mut self, random: &mut Choices) -> bool {
        let left = self.profile.bytes.saturating_sub(self.sent.len());
        if left > 0 {
            let piece = random.usize(1..=left.min(PIECE_BYTES_MAX));
            self.sent.extend(std::iter::repeat_with(|| random.noise()).take(piece));
            return true;
        }
        match self.profile.parting {
            Parting::HalfClose => self.has_half_closed = true,
            Parting::Reset => self.has_reset = true,
            Parting::Stay => {}
        }
        false
    }

    fn answer(&mut self, echo: Echo, random: &mut Choices) -> bool {
        let strikes = !self.has_erred && self.sent.len() >= echo.fault_after_bytes;
        match echo.fault {
            Some(EchoFault::Reset) if strikes => (self.has_erred, self.has_reset) = (true, true),
            Some(EchoFault::End) if strikes => {
                (self.has_erred, self.has_half_closed) = (true, true)
            }
            Some(EchoFault::Silence) if strikes && self.has_something_to_echo() => {
                self.has_erred = true;
                self.profile.reading = Reading::Never;
            }
            Some(EchoFault::Repetition) if strikes => self.repeat(echo.message_bytes),
            Some(EchoFault::Replay) if strikes => self.replay(echo.message_bytes),
            Some(EchoFault::CrossedWires) if strikes => self.cross_wires(echo.message_bytes),
            _ => {}
        }
        let is_mute = self.has_erred && echo.fault == Some(EchoFault::Silence);
        if self.has_half_closed || self.has_reset || is_mute {
            // A silent peer ends when we do; so does one that has ended before us.
            self.has_half_closed |= self.saw_end;
            return false;
        }
        if self.has_something_to_echo() {
            let from = self.echoed;
            let left = self.received.len() - from;
            self.echoed += random.usize(1..=left);
            self.sent.extend_from_slice(&self.received[from..self.echoed]);
            if echo.fault == Some(EchoFault::Corruption) {
                self.corrupt(echo.fault_after_bytes, random);
            }
            return true;
        }
        if self.saw_end && echo.fault == Some(EchoFault::Stubbornness) {
            self.has_erred = true;
        } else if self.saw_end {
            self.has_half_closed = true;
        }
        false
    }

    fn has_something_to_echo(&self) -> bool {
        self.echoed < self.received.len()
    }

    /// Sends the last whole message once more.
    fn repeat(&mut self, message_bytes: usize) {
        let is_whole = self.echoed > 0 && self.echoed.is_multiple_of(message_bytes);
        if is_whole && !self.has_something_to_echo() && !self.saw_end {
            self.has_erred = true;
            self.sent.extend_from_within(self.sent.len() - message_bytes..);
        }
    }

    /// Answers a whole message by the one before.
    fn replay(&mut self, message_bytes: usize) {
        if self.echoed > 0 && self.is_whole_message_waiting(message_bytes) {
            self.has_erred = true;
            self.echoed = self.received.len();
            self.sent.extend_from_within(self.sent.len() - message_bytes..);
        }
    }

    /// Answers a whole message as if it had come through the connection beside it.
    fn cross_wires(&mut self, message_bytes: usize) {
        if self.is_whole_message_waiting(message_bytes) {
            let asked = Message::read(&self.received[self.echoed..]);
            let asked = asked.expect("the stream to a peer is whole messages");
            let answer = Message { connection: asked.connection ^ 1, ..asked };
            self.has_erred = true;
            self.echoed = self.received.len();
            let from = self.sent.len();
            self.sent.resize(from + message_bytes, 0);
            answer.write(&mut self.sent[from..]);
        }
    }

    fn is_whole_message_waiting(&self, message_bytes: usize) -> bool {
        self.echoed.is_multiple_of(message_bytes)
            && self.received.len() == self.echoed + message_bytes
    }

    fn corrupt(&mut self, at: usize, random: &mut Choices) {
        if let Some(byte) = self.sent.get_mut(at)
            && !self.has_erred
        {
            *byte ^= 1 << random.u8(..8);
            self.has_erred = true;
        }
    }
}

/// Bytes that a peer sends at once, at most: more than a simulated buffer holds.
const PIECE_BYTES_MAX: usize = 96;
