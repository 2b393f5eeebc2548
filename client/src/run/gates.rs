//! Whether a run reached what it was asked for: one line for each thing that it did not.

use std::time::Duration;

use megaconn::base::units::grouped;
use megaconn::engine::protocol::expect::Expect;

use crate::measure::aftermath;
use crate::output::result::{Percentiles, Plateau, RunResult};
use crate::run::config::Config;
use crate::run::plateaus;

/// What `result` missed; nothing when every gate is met.
pub(crate) fn missed(result: &RunResult, config: &Config) -> Vec<String> {
    let mut missed = Vec::new();
    let mut miss = |is_missed: bool, line: String| {
        if is_missed {
            missed.push(line);
        }
    };
    let (established, gates) = (result.established, config.gates);
    let failed: u64 = result.failed.values().sum();
    let lost: u64 = result.lost.values().sum();
    let [established_of, failed_of, lost_of, untried] =
        [established, failed, lost, result.untried].map(grouped);
    miss(
        established < gates.min_established,
        format!(
            "{established_of} established of {} wanted: {failed_of} connects failed, {lost_of} \
             connections lost, {untried} not tried",
            grouped(gates.min_established)
        ),
    );
    let most = grouped(gates.max_lost);
    miss(lost > gates.max_lost, format!("{lost_of} connections lost, {most} allowed"));
    if let Some(seen) = aftermath::server_gone(result) {
        miss(lost > gates.max_lost, format!("the server went away: {seen}"));
    }
    if let Some(met) = &result.memory_reserve_met {
        let has_stopped_something = result.untried > 0 || config.traffic.churn.is_some();
        miss(has_stopped_something, format!("memory was short: {met}"));
    }
    let unsafe_at_all = result.safe_capacity.as_ref().and_then(plateaus::missed);
    miss(unsafe_at_all.is_some(), unsafe_at_all.unwrap_or_default());
    for plateau in &result.plateaus {
        judge(plateau, config, &mut miss);
    }
    let timeouts = result.close.as_ref().map_or(0, |close| close.timeouts);
    let timed_out = grouped(timeouts);
    miss(timeouts > 0, format!("{timed_out} connections not ended by the server in time"));
    missed
}

fn judge(plateau: &Plateau, config: &Config, miss: &mut impl FnMut(bool, String)) {
    let messages = &plateau.messages;
    if matches!(config.traffic.expect, Expect::Echo(_)) {
        // What was out on a connection that was lost is accounted for by the loss.
        let lost: u64 = plateau.lost.values().sum();
        let unanswered = messages.sent.saturating_sub(messages.received);
        let (received, sent) = (grouped(messages.received), grouped(messages.sent));
        miss(unanswered > lost, format!("{received} of {sent} messages verified"));
    }
    let unsent = grouped(messages.unsent);
    miss(messages.unsent > 0, format!("{unsent} messages of the schedule not begun in time"));
    if let Some(pushes) = &plateau.pushes {
        let missing = pushes.missing.unwrap_or(0);
        miss(missing > 0, format!("{} pushes missing", grouped(missing)));
        let expects = plateau.established > 0 && pushes.received == 0;
        miss(expects, "no push came; hold for longer than two intervals?".into());
    }
    if let Some(churn) = &plateau.churn {
        let failed: u64 = churn.failed.values().sum();
        let lost: u64 = churn.lost.values().sum();
        let [failed_of, lost_of, unstarted] = [failed, lost, churn.unstarted].map(grouped);
        miss(failed + lost > 0, format!("{failed_of} short connections failed, {lost_of} lost"));
        miss(churn.unstarted > 0, format!("{unstarted} short connections not begun in time"));
    }
    if let Some(most) = config.gates.max_p99 {
        let of_churn = plateau.churn.as_ref().map(|churn| ("short connections", churn.latency_us));
        // Those of a sweep are not measured; without any other there must be short connections.
        let is_measured = messages.latency_us.is_some() || of_churn.is_none();
        let of_messages = is_measured.then_some(("messages", messages.latency_us));
        for (what, latency) in of_churn.into_iter().chain(of_messages) {
            let (is_over, p99) = compare(latency, most);
            let connections = grouped(plateau.connections);
            miss(is_over, format!("p99 of {what} {p99}, {most:?} allowed, at {connections}"));
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
