//! The walls of addresses, handshake and network, each met on purpose with the real programs: the
//! verdict must name it and its side, and after the fix that the verdict gives the same run must not
//! meet it again.
//!
//! How often each is named right is measured by `verdicts`.

use lab::netns::{Build, Lab, Run};
use lab::network::*;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;

impl Case {
    fn is_named(&self, run: &Run) -> bool {
        let expected = (self.id, self.side);
        match run.named() {
            Some(named) => self.costs && named == expected,
            None => !self.costs && run.met().contains(&expected),
        }
    }

    /// Meets the wall, looks at the verdict, does what it says, and does not meet it.
    fn check(&self) {
        let Some(mut lab) = Lab::new(self.build) else { return };
        let Some(met) = (self.meet)(&mut lab) else { return };
        let verdict = &met.result["verdict"];
        assert!(self.is_named(&met), "{}: {verdict:#}", self.id);
        assert_eq!(met.finished.code, Some(i32::from(self.costs)), "{met:#?}");
        let Some(lifted) = (self.lift)(&mut lab, &met) else { return };
        assert_eq!(lifted.finished.code, Some(0), "{} is not lifted: {lifted:#?}", self.id);
        let named = lifted.met().into_iter().chain(lifted.named());
        let named: Vec<_> = named.filter(|(id, _)| *id == self.id).collect();
        assert!(named.is_empty(), "{} is met again: {lifted:#?}", self.id);
    }
}

/// Nobody else may be in a lab of these: first, so that the others do not wait one by one.
mod alone {
    use super::*;

    #[test]
    fn orphans() {
        ORPHANS.check();
    }

    #[test]
    fn neighbours() {
        NEIGHBOURS.check();
    }

    #[test]
    fn conntrack() {
        CONNTRACK.check();
        CONNTRACK_OF_THE_CLIENT.check();
    }

    #[test]
    fn netdev_backlog() {
        NETDEV_BACKLOG.check();
    }
}

mod together {
    use super::*;

    #[test]
    fn middlebox_idle() {
        MIDDLEBOX_IDLE.check();
    }

    #[test]
    fn accept_queue() {
        ACCEPT_QUEUE.check();
    }

    #[test]
    fn syn_queue() {
        SYN_QUEUE.check();
        SYN_QUEUE_FOR_STRANGERS.check();
    }

    #[test]
    fn syncookies() {
        SYNCOOKIES.check();
    }

    #[test]
    fn source_ports() {
        SOURCE_PORTS.check();
    }

    #[test]
    fn time_wait() {
        TIME_WAIT.check();
    }

    #[test]
    fn tw_buckets() {
        TW_BUCKETS.check();
    }

    #[test]
    fn refused() {
        REFUSED.check();
    }

    #[test]
    fn unanswered() {
        UNANSWERED.check();
    }

    #[test]
    fn server_full() {
        SERVER_FULL.check();
    }

    #[test]
    fn packet_loss() {
        PACKET_LOSS.check();
    }

    #[test]
    fn path_gone() {
        PATH_GONE.check();
    }

    #[test]
    fn refused_between() {
        REFUSED_BETWEEN.check();
    }

    /// What stands in the way of every connection is said before the first one.
    #[test]
    fn refused_before_the_run() {
        let Some(mut lab) = Lab::new(Build::Link) else { return };
        let refused = |lab: &Lab, flags: &[&str], id: &str| {
            let always = ["--connections", "600", "--hold", "0s"];
            let finished = lab.client(&[&always, flags].concat()).finish();
            let line = finished.stderr.last().expect("it says why");
            assert!(line.starts_with(&format!("error: {id}: ")), "{finished:#?}");
            assert_eq!(finished.code, Some(2), "{finished:#?}");
        };
        refused(&lab, &[], "refused");
        refused(&lab, &["--target", "10.77.0.9:7000"], "unanswered");
        lab.serve(&[]);
        refused(&lab, &["--source-ports", "40000-40499"], "source-ports");
    }
}
