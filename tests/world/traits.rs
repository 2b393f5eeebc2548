//! What kind of world it is: its server's mode and patience, its peers' profile, its end.

use std::time::Duration;

use fastrand::Rng;
use megaconn::base::constants::SEND_TIMEOUT;
use megaconn::base::units::Text;
use megaconn::drivers::sim::{Parting, PeerProfile, Reading};
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::Push;

/// Drawn once for a world.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    pub(crate) mode: Mode,
    pub(crate) banner: Option<Text>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) send_timeout: Duration,
    pub(crate) accept_rate: Option<f64>,
    /// When a drain begins, and how long it may take.
    pub(crate) drain: Option<(Duration, Duration)>,
    pub(crate) lives_for: Duration,
    /// Most peers stay until they are told to leave.
    peers_stay: bool,
}

/// A world in which sends of 30 seconds time out.
const LONG: Duration = Duration::from_millis(33_000);

impl Traits {
    pub(crate) fn new(random: &mut Rng) -> Traits {
        let is_long = random.u8(..12) == 0;
        let lives_for = if is_long { LONG } else { Duration::from_millis(500) };
        // A long world takes as many turns as a short one.
        let scale = if is_long { 50 } else { 1 };
        let mut ms = |low: u64, high: u64| Duration::from_millis(random.u64(low..high) * scale);
        let (every, idle, sends, drain_at, drain) =
            (ms(10, 120), ms(50, 300), ms(100, 400), ms(0, 500), ms(1, 400));
        let mut one_in = |n: u8| random.u8(..n) == 0;
        let mode = match (one_in(2), one_in(3)) {
            (true, _) => Mode::Echo,
            (false, false) => Mode::Push(Push { every, text: text("abc\n") }),
            (false, true) => Mode::Sink,
        };
        Traits {
            mode,
            banner: one_in(3).then(|| text("hello!")),
            idle_timeout: one_in(3).then_some(idle),
            send_timeout: if one_in(3) { sends } else { SEND_TIMEOUT },
            drain: one_in(3).then_some((drain_at, drain)),
            lives_for,
            peers_stay: one_in(2),
            accept_rate: one_in(4)
                .then(|| 50.0 / f64::from(u32::try_from(scale).expect("it is small"))),
        }
    }

    /// What the server speaks.
    pub(crate) fn protocol(&self) -> Banner<Mode> {
        Banner { text: self.banner.clone(), then: self.mode.clone() }
    }

    pub(crate) fn is_long(&self) -> bool {
        self.lives_for == LONG
    }

    pub(crate) fn profile(&self, random: &mut Rng) -> PeerProfile {
        let is_rude = random.bool();
        // Half of the least time that a send of any of these worlds has.
        let slowly = Reading::Slowly { bytes: random.u16(1..=2), every: Duration::from_millis(20) };
        let readings = [Reading::Promptly, Reading::WithPauses, Reading::Never, slowly];
        let partings = [Parting::HalfClose, Parting::Reset, Parting::Stay];
        let stays = self.peers_stay && random.u8(..4) > 0;
        let parting = if is_rude { partings[random.usize(..3)] } else { Parting::HalfClose };
        PeerProfile {
            bytes: random.usize(..400),
            window: random.usize(8..=200),
            reading: if is_rude { readings[random.usize(..4)] } else { Reading::Promptly },
            parting: if stays { Parting::Stay } else { parting },
            echo: None,
        }
    }
}

fn text(text: &str) -> Text {
    text.parse().expect("it is a legal text")
}
