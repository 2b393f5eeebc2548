//! Any text as the value of a flag: parsers never panic, what they take means what it says, and
//! what is printed of it is taken again for the same.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use megaconn::base::endpoints::Endpoints;
use megaconn::base::units::{self, Text};
use megaconn::plan::named::Targets;
use megaconn::plan::tuples::{PortRange, Sources, TuplePlan};
use megaconn::runtime::topology::CoreList;

fuzz_target!(|text: &str| {
    // Longer ones than anybody types only make a list of CPUs long.
    if text.len() > 512 {
        return;
    }
    check_counts(text);
    check_durations(text);
    check_ports(text);
    if let Ok(bytes) = text.parse::<Text>() {
        assert_eq!(usize::from(bytes.len()), bytes.bytes().len());
        assert_eq!(bytes.to_string().parse(), Ok(bytes), "a text is not what it prints as");
    }
    if let Ok(CoreList::These(cpus)) = text.parse() {
        assert!(!cpus.is_empty(), "a list of no CPUs");
    }
    // Names, ranges and lists; nothing is looked up.
    if !text.contains("://")
        && let Ok(targets) = text.parse::<Targets>()
    {
        assert_eq!(format!("tcp://{text}").parse(), Ok(targets), "a scheme changes a target");
    }
    // A client's whole command line: its target and its source, as two words.
    let (target, source) = text.split_once(' ').unwrap_or((text, "auto"));
    if let Ok(target) = target.parse() {
        check_endpoints(target);
        if let Ok(source) = source.parse() {
            check_plan(target, source);
        }
    }
});

/// Units of counts, and the zeros that each stands for.
const POWERS: [(&str, usize); 12] = [
    ("k", 3),
    ("K", 3),
    ("M", 6),
    ("G", 9),
    ("e3", 3),
    ("e4", 4),
    ("e5", 5),
    ("e6", 6),
    ("e7", 7),
    ("e8", 8),
    ("e9", 9),
    ("e10", 10),
];

fn check_counts(text: &str) {
    let counted = units::count(text);
    if let Ok(n) = counted {
        assert_eq!(units::count(&n.to_string()), Ok(n));
        assert_eq!(units::grouped(n).replace(',', ""), n.to_string());
        assert_eq!(exactly(text, &POWERS), Some(u128::from(n)));
    }
    assert_eq!(units::positive_count(text).ok(), counted.ok().filter(|&n| n > 0));
    if let Ok(n) = units::rate(text) {
        assert!(n > 0.0 && n.is_finite(), "a rate of {n}");
        assert_eq!(units::rate(&format!("{n}/s")), Ok(n));
    }
}

fn check_durations(text: &str) {
    let lasted = units::duration(text);
    if let Ok(duration) = lasted {
        assert_eq!(units::duration(&format!("{}ms", duration.as_millis())), Ok(duration));
        // Minutes and hours are no powers of ten.
        if text.ends_with('s') {
            let value = exactly(text, &[("ms", 0), ("s", 3)]);
            assert_eq!(value, Some(duration.as_millis()), "{text:?} is {duration:?}");
        }
    }
    let positive = lasted.ok().filter(|&duration| duration > Duration::ZERO);
    assert_eq!(units::positive_duration(text).ok(), positive);
    if let Ok(interval) = units::keepalive(text) {
        assert_eq!(positive, Some(interval));
        assert_eq!(interval.subsec_nanos(), 0, "the kernel counts seconds");
    }
}

/// A number with a unit, whose powers of ten are given, as another arithmetic has it.
fn exactly(text: &str, units: &[(&str, usize)]) -> Option<u128> {
    let unit = units.iter().find_map(|(unit, tens)| Some((text.strip_suffix(unit)?, *tens)));
    let (number, tens) = unit.unwrap_or((text, 0));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let padded = format!("{whole}{fraction}{}", "0".repeat(tens.checked_sub(fraction.len())?));
    let significant = padded.trim_start_matches('0');
    if significant.is_empty() { Some(0) } else { significant.parse().ok() }
}

fn check_ports(text: &str) {
    if let Ok(PortRange { low, high }) = text.parse() {
        assert!(0 < low && low <= high, "{low}-{high} is no range of ports");
        assert!(text.chars().all(|c| c.is_ascii_digit() || c == '-'), "{text:?} is a port range");
        assert_eq!(units::port_range(&format!("{low}-{high}")), Ok((low, high)));
    }
}

fn check_endpoints(endpoints: Endpoints) {
    assert_eq!(endpoints.to_string().parse(), Ok(endpoints), "{endpoints} prints as another");
    let count = usize::from(endpoints.high - endpoints.low) + 1;
    assert_eq!(endpoints.each().take(70_000).count(), count);
}

fn check_plan(target: Endpoints, source: Sources) {
    let Sources::Range(range) = source else { return };
    assert_ne!(range.len(), 0, "{range:?} has no address");
    let target = Endpoints { high: target.high.min(target.low.saturating_add(3)), ..target };
    let targets: Vec<_> = target.each().collect();
    let ports = vec![1_024, 40_000, u16::MAX];
    let per_source = (ports.len() * targets.len()) as u64;
    let Ok(plan) = TuplePlan::new(targets, &[range], ports, 2) else {
        assert_ne!(target.address.is_ipv4(), range.first().is_ipv4(), "a plan was refused");
        return;
    };
    let capacity = plan.capacity();
    assert_eq!(capacity, range.len().saturating_mul(per_source));
    assert_eq!(plan.get(0).map(|tuple| tuple.source.ip()), Some(range.first()));
    for number in [0, 1, per_source, capacity / 2, capacity - 1, capacity] {
        let tuple = plan.get(number);
        assert!(tuple.is_some() || number >= capacity, "no tuple {number} of {capacity}");
        let Some(tuple) = tuple else { continue };
        assert_eq!(tuple.number, number);
        assert_eq!(tuple.source.is_ipv4(), target.address.is_ipv4(), "{tuple:?} mixes families");
        assert!(tuple.source.ip() >= range.first(), "{tuple:?} is below the source");
        let core = usize::try_from(number % 2).expect("one of two cores");
        assert_eq!(plan.of_core(core, number / 2), Some(tuple));
    }
}
