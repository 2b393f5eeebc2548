//! What is asked over the network: each probe begins a try without waiting, and says later which of
//! its tries were answered. They know nothing of rates, timeouts and phases.

use std::io;

use rustix::event::PollFd;

pub(crate) mod connect;
pub(crate) mod ping;
pub(crate) mod request;
pub(crate) mod udp;

/// Something that can be asked again and again.
pub(crate) trait Probe: Send {
    /// Begins try `number`; they rise.
    fn begin(&mut self, number: u64) -> io::Result<()>;

    /// Adds the descriptors that tell of an answer.
    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>);

    /// Adds the tries that have come to something since it was last asked.
    fn answers(&mut self, answers: &mut Vec<Answer>);

    /// Try `number` has had its time; an answer that comes now is none.
    fn give_up(&mut self, number: u64);
}

/// What a try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    /// It was what was to come; else an error.
    pub(crate) is_good: bool,
}

/// Bytes of what is sent: the sender, and the number of the try.
pub(crate) const TAG_BYTES: usize = 16;

/// Tells our own tries from what others send.
#[derive(Clone, Copy)]
pub(crate) struct Tag {
    cookie: u64,
}

impl Tag {
    pub(crate) fn new() -> Tag {
        Tag { cookie: fastrand::u64(..) }
    }

    pub(crate) fn of(self, number: u64) -> [u8; TAG_BYTES] {
        let mut bytes = [0; TAG_BYTES];
        bytes[..8].copy_from_slice(&self.cookie.to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// The number of the try that `bytes` begin with, if it is one of ours.
    pub(crate) fn number(self, bytes: &[u8]) -> Option<u64> {
        let (cookie, rest) = bytes.split_first_chunk()?;
        let number = rest.first_chunk()?;
        (u64::from_be_bytes(*cookie) == self.cookie).then(|| u64::from_be_bytes(*number))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, Instant};

    use rustix::event::poll;

    use super::*;

    /// Waits until `count` answers have come; as `(number, is_good)`.
    pub(crate) fn await_answers(probe: &mut dyn Probe, count: usize) -> Vec<(u64, bool)> {
        let (mut answers, began) = (Vec::new(), Instant::now());
        while answers.len() < count {
            assert!(began.elapsed() < Duration::from_secs(20), "only {answers:?}");
            let mut fds = Vec::new();
            probe.watch(&mut fds);
            let wait = Duration::from_millis(100).try_into().expect("a short time");
            poll(&mut fds, Some(&wait)).expect("descriptors can be waited for");
            drop(fds);
            probe.answers(&mut answers);
        }
        answers.iter().map(|answer| (answer.number, answer.is_good)).collect()
    }

    #[test]
    fn a_tag_is_known_again_and_no_other() {
        let (ours, theirs) = (Tag { cookie: 1 }, Tag { cookie: 2 });
        assert_eq!(ours.number(&ours.of(7)), Some(7));
        assert_eq!(ours.number(&theirs.of(7)), None);
        assert_eq!(ours.number(&ours.of(7)[..15]), None, "a piece of one is none");
    }
}
