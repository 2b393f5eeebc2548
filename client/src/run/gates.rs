//! Whether a run reached what it was asked for: one line for each thing that it did not.

use std::time::Duration;

use megaconn::base::units::grouped;
use megaconn::engine::protocol::expect::Expect;
use megaconn::results::percentiles::Percentiles;
use megaconn::results::plateau::Plateau;
use megaconn::results::result::RunResult;
use megaconn::results::verdict::P99_MISSED;

use crate::measure::aftermath;
use crate::run::config::Config;
use crate::run::plateaus;

/// What `result` missed, of which at least so many were to be established, when so many were lost and are not back; nothing
/// when every gate is met.
pub(crate) fn missed(
    result: &RunResult,
    config: &Config,
    least: u64,
    not_back: u64,
) -> Vec<String> {
    let mut missed = Vec::new();
    let mut miss = |is_missed: bool, line: String| {
        if is_missed {
            missed.push(line);
        }
    };
    let (established, gates) = (result.established.or_zero(), config.gates);
    let (failed, lost) = (result.failed.sum(), not_back);
    let comes_back = config.traffic.reconnect.is_some();
    let is_dropped = comes_back && result.dropped.unwrap_or(0) > 0;
    let gone = if is_dropped { "lost or dropped" } else { "lost" };
    let and_not_back = if comes_back { " and not back" } else { "" };
    let untried = result.untried.or_zero();
    let [established_of, failed_of, lost_of, untried_of] =
        [established, failed, lost, untried].map(grouped);
    miss(
        established < least,
        format!(
            "{established_of} established of {} wanted: {failed_of} connects failed, {lost_of} \
             connections lost, {untried_of} not tried",
            grouped(least)
        ),
    );
    let most = grouped(gates.max_lost);
    miss(
        lost > gates.max_lost,
        format!("{lost_of} connections {gone}{and_not_back}, {most} allowed"),
    );
    if let Some(seen) = aftermath::server_gone(*result.target_afterwards, *result.losses) {
        miss(lost > gates.max_lost, format!("the server went away: {seen}"));
    }
    if let Some(met) = result.memory_reserve_met.as_ref() {
        let has_stopped_something = untried > 0 || config.traffic.churn.is_some();
        miss(has_stopped_something, format!("memory was short: {met}"));
    }
    let unsafe_at_all = result.safe_capacity.as_ref().and_then(plateaus::missed);
    miss(unsafe_at_all.is_some(), unsafe_at_all.unwrap_or_default());
    let missing = result.broadcasts.as_ref().map_or(0, |texts| texts.missed.or_zero());
    miss(missing > 0, format!("{} texts to all did not come", grouped(missing)));
    for plateau in result.plateaus.iter() {
        judge(plateau, config, &mut miss);
    }
    let timeouts = result.close.as_ref().map_or(0, |close| close.timeouts.or_zero());
    let timed_out = grouped(timeouts);
    miss(timeouts > 0, format!("{timed_out} connections not ended by the server in time"));
    missed
}

/// The part of a hold that may be cut off because the opening took longer than its time.
const HOLD_CUT_MAX: f64 = 0.1;

fn judge(plateau: &Plateau, config: &Config, miss: &mut impl FnMut(bool, String)) {
    let messages = &plateau.messages;
    if matches!(config.traffic.expect, Expect::Echo(_)) {
        // What was out on a connection that was lost is accounted for by the loss.
        let (received, sent) = (messages.received.or_zero(), messages.sent.or_zero());
        let unanswered = sent.saturating_sub(received);
        let (received, sent) = (grouped(received), grouped(sent));
        let gone = plateau.lost.sum() + plateau.dropped.or_zero();
        miss(unanswered > gone, format!("{received} of {sent} messages verified"));
    }
    let (late, hold) = (plateau.late_seconds.unwrap_or(0.0), config.load.hold.as_secs_f64());
    let connections = grouped(plateau.connections.or_zero());
    miss(
        late > HOLD_CUT_MAX * hold,
        format!(
            "the hold of {connections} began {late:.1} s after its time, of {hold:.1} s by the clock"
        ),
    );
    let unsent = messages.unsent.or_zero();
    let unsent_of = grouped(unsent);
    miss(unsent > 0, format!("{unsent_of} messages of the schedule not begun in time"));
    if let Some(pushes) = plateau.pushes.as_ref() {
        let missing = pushes.missing.or_zero();
        miss(missing > 0, format!("{} pushes missing", grouped(missing)));
        let expects = plateau.established.or_zero() > 0 && pushes.received.or_zero() == 0;
        miss(expects, "no push came; hold for longer than two intervals?".into());
    }
    if let Some(churn) = plateau.churn.as_ref() {
        let all = [churn.failed.sum(), churn.lost.sum(), churn.unstarted.or_zero()];
        let ([failed, lost, unstarted], [failed_of, lost_of, unstarted_of]) =
            (all, all.map(grouped));
        miss(failed + lost > 0, format!("{failed_of} short connections failed, {lost_of} lost"));
        miss(unstarted > 0, format!("{unstarted_of} short connections not begun in time"));
    }
    if let Some(most) = config.gates.max_p99 {
        let of_churn = plateau.churn.as_ref().map(|churn| ("short connections", *churn.latency_us));
        // Those of a sweep are not measured; without any other there must be short connections.
        let is_measured = messages.latency_us.is_some() || of_churn.is_none();
        let of_messages = is_measured.then_some(("messages", *messages.latency_us));
        for (what, latency) in of_churn.into_iter().chain(of_messages) {
            let (is_over, p99) = compare(latency, most);
            let connections = grouped(plateau.connections.or_zero());
            miss(is_over, format!("{P99_MISSED} {what} {p99}, {most:?} allowed, at {connections}"));
        }
    }
}

/// Whether the p99 is above, or unknown; and how it is called.
fn compare(latency: Option<Percentiles>, most: Duration) -> (bool, String) {
    match latency {
        None => (true, "unknown".into()),
        Some(latency) => {
            let p99 = Duration::from_micros(latency.p99);
            (p99 > most, format!("{p99:?}"))
        }
    }
}
