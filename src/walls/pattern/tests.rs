//! Each pattern, and what looks like one and is none.

use super::*;
use crate::base::errno::Errno;

const FIN: Ending = Ending::Lost(LostCause::Fin);

fn source(n: u64) -> IpAddr {
    IpAddr::from([127, 0, 0, u8::try_from(n + 1).expect("sources are few")])
}

fn target(n: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_000 + u16::try_from(n).expect("targets are few")))
}

/// Connection `number`, opened each millisecond, through four sources to three targets.
fn lost(number: u64, ending: Ending, at_ms: u64, idle_ms: u64) -> Lost {
    Lost {
        number,
        ending,
        at: Duration::from_millis(at_ms),
        age: Some(Duration::from_millis(at_ms.saturating_sub(number))),
        idle: Some(Duration::from_millis(idle_ms)),
        source: source(number % 4),
        target: target(number % 3),
    }
}

fn tried(connections: u64) -> Tried {
    let mut tried = Tried::default();
    for number in 0..connections {
        *tried.by_source.entry(source(number % 4)).or_insert(0) += 1;
        *tried.by_target.entry(target(number % 3)).or_insert(0) += 1;
    }
    tried
}

fn shared(losses: &[Lost], of: u64) -> Vec<Shared> {
    find(losses, &tried(of)).into_iter().map(|pattern| pattern.shared).collect()
}

/// One of seven, without a rule.
fn by_chance(n: &u64) -> bool {
    (n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).is_multiple_of(7)
}

fn jitter(number: u64) -> u64 {
    number * 7_919 % 23
}

#[test]
fn an_idle_limit_is_told_from_a_limit_of_age() {
    let idle = |n: u64| lost(n, FIN, 9_000 + n * 5, 2_000 + jitter(n));
    let losses: Vec<Lost> = (0..3_000).map(idle).collect();
    let [Shared::Idle(idle)] = shared(&losses, 3_000)[..] else { panic!("{losses:?}") };
    assert_eq!(idle.as_millis() / 100, 20);
    // One age, with bytes now and then.
    let aged = |n: u64| lost(n, FIN, n + 60_000 + jitter(n), n * 31 % 4_000);
    let losses: Vec<Lost> = (0..3_000).map(aged).collect();
    let [Shared::Age(age)] = shared(&losses, 3_000)[..] else { panic!("no age") };
    assert_eq!(age.as_secs(), 60);
}

#[test]
fn what_ends_at_once_has_its_moment_in_common_and_no_age() {
    let losses: Vec<Lost> =
        (0..3_000).map(|n| lost(n, FIN, 13_000 + n / 10, 500 + n % 40)).collect();
    let [Shared::Moment(at)] = shared(&losses, 3_000)[..] else { panic!("no moment") };
    assert_eq!(at.as_secs(), 13);
    let line = find(&losses, &tried(3_000))[0].to_string();
    assert!(line.contains("3,000 of the 3,000") && line.contains("(FIN)"), "{line}");
}

/// A server that is full resets what comes: all came within a second, and the age tells more.
#[test]
fn what_ends_as_soon_as_it_is_there_is_told_before_its_moment() {
    let losses: Vec<Lost> = (0..200)
        .map(|n| Lost { age: Some(Duration::from_millis(5 + n % 20)), ..lost(n, FIN, n, 0) })
        .collect();
    let [Shared::AtOnce(_)] = shared(&losses, 3_000)[..] else { panic!("not at once") };
}

#[test]
fn losses_at_any_time_have_nothing_in_common() {
    let any = |n: u64| lost(n, FIN, 4_000 + n * 104_729 % 50_000, n * 7_919 % 9_000);
    let losses: Vec<Lost> = (0..3_000).filter(by_chance).map(any).collect();
    assert_eq!(shared(&losses, 3_000), []);
    // And a handful is no pattern at all.
    assert_eq!(shared(&losses[..LOSSES_MIN - 1], 3_000), []);
}

#[test]
fn what_ends_at_once_has_no_age_in_common() {
    let losses: Vec<Lost> = (0..3_000)
        .map(|n| Lost { age: Some(Duration::from_millis(jitter(n))), ..lost(n, FIN, n, 0) })
        .collect();
    let [Shared::AtOnce(_)] = shared(&losses, 3_000)[..] else { panic!("not at once") };
}

#[test]
fn one_target_and_one_source_are_named() {
    let spread = |n: u64| lost(n, FIN, 4_000 + n * 104_729 % 50_000, n * 7_919 % 9_000);
    let of_target: Vec<Lost> =
        (0..900).filter(|n| n % 3 == 1 && by_chance(n)).map(spread).collect();
    assert_eq!(shared(&of_target, 900), [Shared::Target(target(1))]);
    let of_source: Vec<Lost> =
        (0..900).filter(|n| n % 4 == 2 && by_chance(n)).map(spread).collect();
    assert_eq!(shared(&of_source, 900), [Shared::Source(source(2))]);
    // The only target that there is tells nothing.
    let only = Tried { by_target: [(target(1), 900)].into(), by_source: [(source(0), 900)].into() };
    assert_eq!(find(&of_target, &only), []);
}

#[test]
fn a_limit_for_each_address_is_told_by_what_each_was_left_with() {
    let refused = Ending::Failed(Errno::ECONNREFUSED);
    let any = |n: u64| lost(n, refused, 10 + n * 104_729 % 50_000, n * 7_919 % 9_000);
    // Of 250 each, the first hundred of each address are let through.
    let losses: Vec<Lost> = (400..1_000).map(any).collect();
    assert_eq!(shared(&losses, 1_000), [Shared::PerSource(100)]);
}

#[test]
fn every_fourth_is_found() {
    let any = |n: u64| Lost {
        source: source(n * 7_919 % 11 % 4),
        target: target(n * 104_729 % 13 % 3),
        ..lost(n, FIN, 4_000 + n * 104_729 % 50_000, n * 7_919 % 9_000)
    };
    let losses: Vec<Lost> = (0..4_000).filter(|n| n % 4 == 3).map(any).collect();
    let found = shared(&losses, 4_000);
    assert!(found.contains(&Shared::EveryNth(4)), "{found:?}");
    // A part of them has failed already.
    let split = |lost: &Lost| Lost {
        ending: if lost.number % 20 == 3 { Ending::Failed(Errno::ECONNRESET) } else { FIN },
        ..*lost
    };
    let parts: Vec<Lost> = losses.iter().map(split).collect();
    let found = shared(&parts, 4_000);
    assert_eq!(found.iter().filter(|s| **s == Shared::EveryNth(4)).count(), 2, "{found:?}");
    // A tenth of them is not every one of a class.
    let some: Vec<Lost> = losses.iter().filter(|lost| by_chance(&lost.number)).copied().collect();
    assert!(!shared(&some, 4_000).iter().any(|s| matches!(s, Shared::EveryNth(_))));
}
