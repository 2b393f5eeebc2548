//! Outside the host.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::stats::LostCause;
use crate::plan::demand::Ends;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::place::Place;
use crate::walls::run_facts::{ClientFacts, RunFacts};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BETWEEN, BLANK};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "cloud-conntrack",
        precedence: 340,
        limits: "connections that the cloud's network tracks for this machine",
        at: BETWEEN,
        unit: "connections",
        explains: &[
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
        ],
        signs: &[Sign::Kernel("ethtool -S: conntrack_allowance_exceeded rises", exceeded)],
        absent: "the card counted no packet beyond the cloud's allowance",
        fix: |_, _| vec![Fix::Advice("a larger instance, or untracked security group rules")],
        remark: "a NAT gateway has 55,000 for each destination",
        ..BLANK
    },
    Wall {
        id: "middlebox-idle",
        precedence: 350,
        limits: "time for which a firewall, NAT or load balancer remembers a silent connection",
        at: BETWEEN,
        unit: "seconds",
        explains: &[Symptom::Lost(LostCause::Silent), Symptom::Lost(LostCause::Timeout)],
        signs: &[Sign::Seen("connections are silent after a hold", silent_after_hold)],
        absent: "no connection that had worked died while it was idle",
        fix: |_, _| vec![Fix::Flag("--keepalive with less than that time, at either end".into())],
        remark: "load balancers: often 350 s; NAT: often 5 minutes",
        ..BLANK
    },
];

/// The card says that the cloud's network dropped packets. Packets between two ends on one host
/// never reach that network.
fn exceeded(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side).filter(|_| run.demand.ends != Ends::Both)?;
    let n = end.rise("ethtool.conntrack_allowance_exceeded").filter(|n| *n > 0)?;
    let text = format!("client: ethtool -S: conntrack_allowance_exceeded +{}", grouped(n));
    Some(Evidence { text, count: Some(n), confidence: Confidence::Likely })
}

/// Connections that had worked, had nothing to do for a while, and then did not answer, and what was sent
/// on them was not acknowledged. A connection on which messages went every few seconds was not idle.
pub(super) fn died_idle(run: &RunFacts) -> bool {
    let ClientFacts { silent_after_hold: silent, held_seconds, idle_seconds, .. } = run.facts;
    let was_idle = held_seconds > 0.0 && idle_seconds >= IDLE_SECONDS.min(held_seconds);
    let had_worked = run.facts.received_before_hold >= silent;
    silent > 0 && had_worked && was_idle && run.is_unacknowledged() != Some(false)
}

/// Such connections, while the server answers others.
fn silent_after_hold(run: &RunFacts, _: Place) -> Option<Evidence> {
    let ClientFacts { silent_after_hold: silent, held_seconds, idle_seconds, .. } = run.facts;
    let text = format!(
        "client: {} connections answered before a hold of {held_seconds:.0} s, were idle for \
         {idle_seconds:.0} s, and did not answer after it",
        grouped(silent)
    );
    let is_met = died_idle(run) && run.facts.target_gone.is_none();
    is_met.then_some(Evidence { text, count: Some(silent), confidence: Confidence::Possible })
}

/// Seconds without a byte after which nothing between forgets a connection any sooner.
const IDLE_SECONDS: f64 = 10.0;
