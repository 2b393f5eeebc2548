//! The expectations that a flag of the client chooses from.

use std::ops::Range;
use std::time::Duration;

use crate::engine::protocol::broadcasts::Broadcasts;
use crate::engine::protocol::echo::Echoed;
use crate::engine::protocol::push::Pushes;
use crate::engine::protocol::sink::Silence;
use crate::engine::protocol::{Expectation, Heard};

/// What comes from the server.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Every message, back.
    Echo(Echoed),
    /// Texts, unasked.
    Push(Pushes),
    /// Texts to all, unasked.
    Broadcast(Broadcasts),
    /// Not a byte.
    Nothing,
}

/// Hands a call on to the one that was chosen.
macro_rules! chosen {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self {
            Expect::Echo(echoed) => echoed.$method($($argument),*),
            Expect::Push(pushes) => pushes.$method($($argument),*),
            Expect::Broadcast(broadcasts) => broadcasts.$method($($argument),*),
            Expect::Nothing => Silence.$method($($argument),*),
        }
    };
}

impl Expectation for Expect {
    /// The number of the last message or text, or the place in the stream.
    type State = u16;

    #[inline]
    fn is_answered(&self) -> bool {
        chosen!(self.is_answered())
    }

    #[inline]
    fn is_unasked(&self) -> bool {
        chosen!(self.is_unasked())
    }

    fn every(&self) -> Option<Duration> {
        chosen!(self.every())
    }

    fn had_one(&self, state: &u16) -> bool {
        chosen!(self.had_one(state))
    }

    #[inline]
    fn sequence(&self, state: &u16) -> u16 {
        chosen!(self.sequence(state))
    }

    #[inline]
    fn next_sequence(&self, state: &mut u16) {
        chosen!(self.next_sequence(state))
    }

    #[inline]
    fn on_bytes(&self, state: &mut u16, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        chosen!(self.on_bytes(state, buffer, bytes))
    }
}
