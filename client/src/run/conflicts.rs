//! Flags that contradict each other.

use megaconn::base::constants::EXPECTED_EVERY_MAX;
use megaconn::base::wanted::Wanted;

use crate::run::flags::{self, Flags};

/// The first contradiction among `flags`, and its fix.
pub(super) fn first(flags: &Flags) -> Option<(&'static str, &'static str)> {
    let all = of_run(flags).into_iter().chain(of_script(flags)).chain(of_returns(flags));
    let mut all = all.chain(of_lifetimes(flags)).chain(of_readers(flags));
    all.find(|(is_so, ..)| *is_so).map(|(_, what, fix)| (what, fix))
}

/// Whether flags contradict each other, what the contradiction is, and its fix; in the order in which
/// they are told.
fn of_run(flags: &Flags) -> [(bool, &'static str, &'static str); 25] {
    let Flags { targets, load, traffic, gates, script, .. } = flags;
    let (scripted, is_other) = (script.is_any(), traffic.expect != flags::Expect::Echo);
    let is_dumb = scripted && script.answer.is_none();
    let is_mute = scripted && script.message.is_none();
    let resolves = targets.resolve_every.is_some();
    let (echo, push) =
        (traffic.expect == flags::Expect::Echo, traffic.expect == flags::Expect::Push);
    let sends = traffic.message_every.is_some()
        || traffic.message_rate.is_some()
        || traffic.message_count.is_some_and(|count| count > 0);
    let (holds, searches) = (!load.connections.is_empty(), flags.keep_bystanders.is_some());
    let unwatched = !flags.bystanders && flags.panel.names_a_target();
    let is_long = traffic.push_every > Some(EXPECTED_EVERY_MAX);
    // A search holds for as long as it takes to tell.
    let no_hold = load.hold.is_zero() && !searches;
    let by_schedule = traffic.message_every.is_some() || traffic.message_rate.is_some();
    [
        (
            no_hold && traffic.churn.is_some(),
            "--churn is of the hold, of which --hold 0s has none",
            "--hold 10s",
        ),
        (
            no_hold && by_schedule,
            "messages by schedule are of the hold, of which --hold 0s has none",
            "--hold 10s, or --message-count",
        ),
        (scripted && is_other, "a script says what comes", "--answer in place of --expect"),
        (
            script.answer.is_some() && is_mute,
            "--answer answers nothing",
            "add --message, or write --hello-answer",
        ),
        (is_mute && sends, "a script without --message sends none", "add --message"),
        (is_dumb && traffic.churn.is_some(), "--churn needs an answer", "--answer"),
        (is_dumb && traffic.sweep, "--sweep needs an answer", "--answer"),
        (!holds && traffic.sweep, "--sweep needs connections", "--connections"),
        (!echo && traffic.churn.is_some(), "--churn needs an answer", "--expect echo"),
        (!echo && traffic.sweep, "--sweep needs an answer", "--expect echo"),
        (push && sends, "--expect push sends nothing", "no --message-* flags"),
        (
            traffic.expect == flags::Expect::Broadcast && sends,
            "--expect broadcast sends nothing",
            "no --message-* flags",
        ),
        (!holds && sends, "--message-* need connections", "--connections"),
        (!echo && gates.max_p99.is_some(), "--max-p99 needs answers", "--expect echo"),
        (!push && traffic.banner.is_some(), "--banner is for pushes", "--expect push"),
        (!push && traffic.push_text.is_some(), "--push-text is for pushes", "--expect push"),
        (!push && traffic.push_every.is_some(), "--push-every is for pushes", "--expect push"),
        (!holds && searches, "--keep-bystanders needs connections", "--connections"),
        (!flags.bystanders && searches, "--keep-bystanders needs them", "--bystanders"),
        (
            searches && load.connections.contains(&Wanted::Max),
            "--keep-bystanders searches up to a number, and max is none",
            "--connections with a number",
        ),
        (
            searches && load.connections.windows(2).any(|pair| pair[0] > pair[1]),
            "--keep-bystanders searches upwards",
            "--connections that rise",
        ),
        (unwatched, "--ping and its like are bystanders", "add --bystanders"),
        (is_long, "--push-every is too long", "30m or less"),
        (
            resolves && !targets.has_name(),
            "--resolve-every needs a name among the targets, and all are addresses",
            "--target example.org:7000, or no --resolve-every",
        ),
        (
            resolves && traffic.churn.is_none(),
            "--resolve-every moves short connections, and there are none",
            "--churn 100/s, or no --resolve-every",
        ),
    ]
}

/// The same of a script, and of what it is said by.
fn of_script(flags: &Flags) -> [(bool, &'static str, &'static str); 5] {
    let Flags { traffic, script, .. } = flags;
    let scripted = script.is_any();
    [
        (
            script.keepalive_message.is_some() && script.keepalive_every.is_none(),
            "--keepalive-message has no time",
            "add --keepalive-every",
        ),
        (
            script.keepalive_message.is_none() && script.keepalive_every.is_some(),
            "--keepalive-every has nothing to say",
            "add --keepalive-message",
        ),
        (
            script.keepalive_message.is_none() && script.keepalive_answer.is_some(),
            "--keepalive-answer answers nothing",
            "add --keepalive-message",
        ),
        (
            scripted && traffic.ping_every.is_some(),
            "--ping-every sends messages of its own, as pings",
            "--keepalive-message, or no script",
        ),
        (
            !scripted && traffic.message_kind.is_some(),
            "--message-kind is of messages of a script",
            "add --message",
        ),
    ]
}

/// The same of connections that come back.
fn of_returns(flags: &Flags) -> [(bool, &'static str, &'static str); 7] {
    let Flags { load, reconnect, .. } = flags;
    let comes_back = reconnect.told().is_some();
    let falls = load.connections.windows(2).any(|pair| pair[0] > pair[1]);
    let has_more = reconnect.jitter.is_some() || reconnect.reconnect_max.is_some();
    [
        (
            !comes_back && has_more,
            "--jitter and --reconnect-max are of --reconnect, which is none",
            "--reconnect 'backoff 1s-30s'",
        ),
        (
            comes_back && load.connections.is_empty(),
            "--reconnect is of held connections, and there are none",
            "add --connections",
        ),
        (
            comes_back && load.hold.is_zero(),
            "--reconnect is of the hold, of which --hold 0s has none",
            "--hold 30s",
        ),
        (
            comes_back && load.connections.contains(&Wanted::Max),
            "--connections max opens until there is no more, and nothing can come back then",
            "--connections with a number",
        ),
        (
            !reconnect.storms().is_empty() && load.connections.is_empty(),
            "--storm and --half-open are of held connections, and there are none",
            "add --connections",
        ),
        (
            reconnect.storms().iter().any(|storm| storm.first >= load.hold),
            "--storm comes when the hold is over, or there is none",
            "a longer --hold, or an earlier storm",
        ),
        (
            comes_back && falls,
            "--reconnect makes connections again under their numbers, which plateaus that fall give twice",
            "--connections that rise",
        ),
    ]
}

/// The same of connections that come and go.
fn of_lifetimes(flags: &Flags) -> [(bool, &'static str, &'static str); 5] {
    let Flags { load, lifetime, .. } = flags;
    let ends = lifetime.lifetime.is_some();
    let falls = load.connections.windows(2).any(|pair| pair[0] > pair[1]);
    [
        (
            ends && load.connections.is_empty(),
            "--lifetime is of held connections, and there are none",
            "add --connections",
        ),
        (
            ends && load.hold.is_zero() && flags.keep_bystanders.is_none(),
            "--lifetime is of the hold, of which --hold 0s has none",
            "--hold 60s",
        ),
        (
            ends && load.connections.contains(&Wanted::Max),
            "--connections max opens until there is no more, and nothing can take a place then",
            "--connections with a number",
        ),
        (
            ends && falls,
            "--lifetime fills places under their numbers, which plateaus that fall give twice",
            "--connections that rise",
        ),
        (
            ends && flags.keep_bystanders.is_some(),
            "--keep-bystanders closes connections on its way, and --lifetime fills their places",
            "one of the two",
        ),
    ]
}

/// The same of connections that read slowly, or not at all.
fn of_readers(flags: &Flags) -> [(bool, &'static str, &'static str); 6] {
    let Flags { load, traffic, lifetime, readers, .. } = flags;
    let are_any = readers.is_any();
    let is_echo = traffic.expect == flags::Expect::Echo;
    let sends = traffic.message_every.is_some() || traffic.message_rate.is_some();
    [
        (
            are_any && load.connections.is_empty(),
            "--slow-readers and --silent-readers are of held connections, and there are none",
            "add --connections",
        ),
        (
            are_any && load.hold.is_zero() && flags.keep_bystanders.is_none(),
            "--slow-readers and --silent-readers are of the hold, of which --hold 0s has none",
            "--hold 60s",
        ),
        (
            are_any && traffic.expect == flags::Expect::Nothing,
            "--expect nothing leaves nothing to read",
            "--expect echo or push, or all connections as they are",
        ),
        (
            are_any && is_echo && !sends && traffic.ping_every.is_none(),
            "--slow-readers and --silent-readers need something in the hold that they do not read",
            "add --message-every 1s",
        ),
        (
            are_any && lifetime.lifetime.is_some(),
            "--lifetime closes connections in order, which those that do not read cannot be",
            "one of the two",
        ),
        (
            readers.is_more_than_all(),
            "--slow-readers and --silent-readers are more than all together",
            "100% at most",
        ),
    ]
}
