//! Properties of the tuple plan: parts of cores are disjoint, no tuple comes twice, all are used.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use megaconn::host::addresses::Addresses;
use megaconn::host::procfs::ProcFs;
use megaconn::plan::sources;
use megaconn::plan::tuples::{AddressRange, PortRange, Sources, TupleError, TuplePlan};
use proptest::prelude::*;

/// A small space: v4 and v6 sources, some ports, v4 and v6 targets, some cores.
#[derive(Debug, Clone)]
struct Space {
    sources: Vec<AddressRange>,
    ports: Vec<u16>,
    targets: Vec<SocketAddr>,
    cores: usize,
    addresses: (u64, u64),
}

fn space() -> impl Strategy<Value = Space> {
    let v4 = prop::collection::vec(1..5_u32, 1..4);
    let targets = (1..4_u16, 0..4_u16);
    (v4, 1..4_u16, 1..9_u16, targets, 1..6_usize).prop_map(|(v4, v6, ports, targets, cores)| {
        let mut sources = Vec::new();
        let mut next = Ipv4Addr::new(127, 3, 0, 1).to_bits();
        for len in &v4 {
            let low = IpAddr::V4(Ipv4Addr::from_bits(next));
            let high = IpAddr::V4(Ipv4Addr::from_bits(next + len - 1));
            sources.push(AddressRange::new(low, high).unwrap());
            // A gap, so that ranges are no neighbours.
            next += len + 7;
        }
        let six = |n: u16| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n));
        sources.push(AddressRange::new(six(1), six(v6)).unwrap());
        let four = (0..targets.0).map(|n| SocketAddr::from(([127, 0, 0, 1], 7000 + n)));
        let six = (0..targets.1).map(|n| SocketAddr::from((Ipv6Addr::LOCALHOST, 7000 + n)));
        Space {
            sources,
            ports: (40_000..40_000 + ports).collect(),
            targets: four.chain(six).collect(),
            cores,
            addresses: (v4.iter().map(|&n| u64::from(n)).sum(), u64::from(v6)),
        }
    })
}

fn plan(space: &Space) -> TuplePlan {
    TuplePlan::new(space.targets.clone(), &space.sources, space.ports.clone(), space.cores).unwrap()
}

/// Sources, ports and targets that overlap: `127.0.0.N:7000+M` and as many of `[fd00::N]`.
fn overlapping() -> impl Strategy<Value = Space> {
    let target = (1..6_u8, 0..5_u16, any::<bool>());
    let targets = prop::collection::btree_set(target, 1..12);
    (1..5_u8, 1..5_u16, targets, 1..4_usize).prop_map(|(last, ports, targets, cores)| {
        let four = |n: u8| IpAddr::from([127, 0, 0, n]);
        let six = |n: u8| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()));
        let place = |(n, port, is_v4): (u8, u16, bool)| {
            SocketAddr::new(if is_v4 { four(n) } else { six(n) }, 7000 + port)
        };
        let range = |low, high| AddressRange::new(low, high).unwrap();
        Space {
            sources: vec![
                range(four(1), four(last)),
                range(four(6), four(7)),
                range(six(2), six(3)),
            ],
            ports: (7000..7000 + ports).collect(),
            targets: targets.into_iter().map(place).collect(),
            cores,
            addresses: (0, 0),
        }
    })
}

proptest! {
    #[test]
    fn no_connection_is_to_itself_and_no_other_is_missing(space in overlapping()) {
        let plan = plan(&space);
        let all: Vec<_> = (0..plan.capacity()).map(|n| plan.get(n).unwrap()).collect();
        prop_assert_eq!(plan.get(plan.capacity()), None);
        for (n, tuple) in all.iter().enumerate() {
            prop_assert_eq!(tuple.number, n as u64);
            prop_assert_ne!(tuple.source, space.targets[tuple.target]);
        }
        let mut expected = BTreeSet::new();
        for (n, target) in space.targets.iter().enumerate() {
            let of_family = space.sources.iter().filter(|s| s.first().is_ipv4() == target.is_ipv4());
            for range in of_family {
                let mut address = range.first();
                while address <= range.last() {
                    let from = space.ports.iter().map(|port| SocketAddr::new(address, *port));
                    expected.extend(from.filter(|from| from != target).map(|from| (from, n)));
                    address = match address {
                        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() + 1).into(),
                        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() + 1).into(),
                    };
                }
            }
        }
        let found: BTreeSet<_> = all.iter().map(|tuple| (tuple.source, tuple.target)).collect();
        prop_assert_eq!(all.len(), found.len());
        prop_assert_eq!(&found, &expected);
    }

    #[test]
    fn the_space_is_used_in_full_without_a_double(space in space()) {
        let plan = plan(&space);
        let fours = space.targets.iter().filter(|t| t.is_ipv4()).count() as u64;
        let sixes = space.targets.len() as u64 - fours;
        let ports = space.ports.len() as u64;
        let expected = (space.addresses.0 * fours + space.addresses.1 * sixes) * ports;
        prop_assert_eq!(plan.capacity(), expected);
        let all: BTreeSet<_> = (0..expected).map(|n| plan.get(n).unwrap())
            .map(|tuple| (tuple.source, tuple.target)).collect();
        prop_assert_eq!(all.len() as u64, expected);
        prop_assert_eq!(plan.get(expected), None);
        prop_assert_eq!(plan.get(u64::MAX), None);
    }

    #[test]
    fn cores_are_disjoint_and_together_are_all(space in space()) {
        let plan = plan(&space);
        let mut numbers = BTreeSet::new();
        for core in 0..space.cores {
            for index in 0.. {
                let Some(tuple) = plan.of_core(core, index) else { break };
                prop_assert!(numbers.insert(tuple.number), "two cores own tuple {}", tuple.number);
                prop_assert_eq!(plan.get(tuple.number), Some(tuple));
            }
        }
        prop_assert_eq!(numbers.len() as u64, plan.capacity());
    }

    /// While every target has tuples left, none has more than one more than another.
    #[test]
    fn targets_are_dealt_out_evenly(space in space()) {
        let plan = plan(&space);
        let addresses = if space.targets.iter().any(SocketAddr::is_ipv6) {
            space.addresses.0.min(space.addresses.1)
        } else {
            space.addresses.0
        };
        let rounds = addresses * space.ports.len() as u64;
        let mut counts = vec![0; space.targets.len()];
        for number in 0..rounds * space.targets.len() as u64 {
            counts[plan.get(number).unwrap().target] += 1;
            let (least, most) = (counts.iter().min(), counts.iter().max());
            prop_assert!(most.unwrap() - least.unwrap() <= 1, "at {}: {:?}", number, counts);
        }
    }

    #[test]
    fn a_tuple_lies_in_the_space_and_in_one_family(space in space(), at: prop::sample::Index) {
        let plan = plan(&space);
        let number = at.index(usize::try_from(plan.capacity()).unwrap()) as u64;
        let tuple = plan.get(number).unwrap();
        prop_assert!(space.ports.contains(&tuple.source.port()));
        prop_assert_eq!(tuple.source.is_ipv4(), space.targets[tuple.target].is_ipv4());
    }
}

fn resolve(text: &str) -> Result<Sources, String> {
    text.parse()
}

#[test]
fn sources_are_parsed() {
    let len = |text: &str| match resolve(text) {
        Ok(Sources::Range(range)) => range.len(),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(resolve("auto"), Ok(Sources::Auto));
    assert_eq!(len("10.0.0.5"), 1);
    assert_eq!(len("10.0.0.5-10.0.0.9"), 5);
    assert_eq!(len("10.0.0.0/28"), 14);
    assert_eq!(len("10.0.0.0/31"), 2);
    assert_eq!(len("10.0.0.7/32"), 1);
    assert_eq!(len("127.0.0.0/8"), (1 << 24) - 2);
    assert_eq!(len("fd00::/120"), 256);
    assert_eq!(resolve("eth0"), Ok(Sources::Interface("eth0".into())));
    for bad in ["", "10.0.0", "10.0.0.0/33", "10.0.0.9-10.0.0.5", "10.0.0.1-::1", "0eth"] {
        assert!(resolve(bad).is_err(), "{bad:?} was taken for a source");
    }
    for bad in ["", "0", "5-4", "1-70000", "a-b"] {
        assert!(bad.parse::<PortRange>().is_err(), "{bad:?} was taken for a port range");
    }
}

#[test]
fn auto_takes_loopback_addresses_for_loopback_targets() {
    let four: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    let six: SocketAddr = "[::1]:7000".parse().unwrap();
    let addresses = Addresses::read(&ProcFs::host()).unwrap();
    let ranges = sources::resolve(&[Sources::Auto], &[four, six], &addresses).unwrap().0;
    assert_eq!(ranges.len(), 2);
    assert_eq!(ranges[0].first(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let plan = TuplePlan::new(vec![four, six], &ranges, (32_768..=60_999).collect(), 2).unwrap();
    assert_eq!(plan.per_source(), 28_232);
    // The whole of 127.0.0.0/8 but its ends and 127.0.0.1, and one address of IPv6.
    assert_eq!(plan.capacity(), ((1 << 24) - 3 + 1) * 28_232);
}

#[test]
fn doubles_and_missing_families_are_refused() {
    let target: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    let range = |low: [u8; 4], high: [u8; 4]| AddressRange::new(low.into(), high.into()).unwrap();
    let (a, b) = (range([127, 0, 0, 2], [127, 0, 0, 9]), range([127, 0, 0, 9], [127, 0, 0, 12]));
    let made = |targets: &[SocketAddr], sources: &[AddressRange], ports: Vec<u16>| {
        TuplePlan::new(targets.to_vec(), sources, ports, 1).map(|plan| plan.capacity())
    };
    assert_eq!(made(&[target], &[a], vec![40_000]), Ok(8));
    assert!(matches!(made(&[target], &[a, b], vec![40_000]), Err(TupleError::Overlap(..))));
    assert!(matches!(made(&[target, target], &[a], vec![1]), Err(TupleError::TwiceTarget(_))));
    let six = "[::1]:7000".parse().unwrap();
    assert_eq!(made(&[six], &[a], vec![40_000]), Err(TupleError::NoSource(six)));
    assert_eq!(made(&[target], &[a], vec![]), Err(TupleError::NoPort));
}
