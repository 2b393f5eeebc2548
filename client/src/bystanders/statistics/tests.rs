//! The arithmetic against figures that others have published, and against counting by hand.

use super::*;
use crate::bystanders::statistics::serial::{inflation, ranks};
use crate::bystanders::statistics::shift::{Seen, difference, fewest, shift};
use crate::bystanders::statistics::tail::chance;

/// Of 95 %, as the tables have it.
const Z: f64 = 1.96;

fn is_near(a: f64, b: f64, by: f64) {
    assert!((a - b).abs() <= by, "{a} is not {b}");
}

#[test]
fn deviations_are_those_of_the_tables() {
    for (chance, z) in [(0.5, 0.0), (0.05, 1.645), (0.025, 1.960), (0.001, 3.090), (1e-5, 4.265)] {
        is_near(deviations(chance), z, 0.001);
    }
}

/// R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
#[test]
fn intervals_of_a_fraction_are_those_that_newcombe_lists() {
    let listed = [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ];
    for (count, of, low, high) in listed {
        let interval = wilson(Part::new(count, of, 1.0), Z);
        is_near(interval.low, low, 0.0001);
        is_near(interval.high, high, 0.0001);
    }
    let nothing = wilson(Part::new(0, 0, 1.0), Z);
    assert_eq!((nothing.low, nothing.high), (0.0, 1.0));
}

/// The same, 873-890, table II, method 10.
#[test]
fn intervals_of_a_difference_are_those_that_newcombe_lists() {
    let listed = [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ];
    for (a, b, low, high) in listed {
        let part = |(count, of)| Part::new(count, of, 1.0);
        let interval = newcombe(part(a), part(b), Z);
        is_near(interval.low, low, 0.0001);
        is_near(interval.high, high, 0.0001);
    }
}

#[test]
fn samples_that_hang_together_make_an_interval_wider() {
    let (alone, together) = (Part::new(20, 400, 1.0), Part::new(20, 400, 5.0));
    assert_eq!(wilson(together, Z), wilson(Part::new(4, 80, 1.0), Z));
    assert!(wilson(together, Z).low < wilson(alone, Z).low);
}

/// M. Hollander and D. A. Wolfe, Nonparametric Statistical Methods (1999), examples 4.1 to 4.5: the
/// permeability of membranes, here in hundredths. The shift is -0.305, and the 9th differences from
/// either end, -0.76 and 0.15, are its interval of 96 %.
#[test]
fn the_shift_is_that_of_hollander_and_wolfe() {
    let mut term = [80, 83, 189, 104, 145, 138, 191, 164, 73, 146];
    let mut early = [115, 88, 90, 74, 121];
    term.sort_unstable();
    early.sort_unstable();
    assert_eq!([9, 42].map(|k| difference(&early, &term, k)), [-76, 15]);
    let [now, before] = [&early[..], &term].map(|sorted| Seen { sorted, inflation: 1.0 });
    // By the normal curve it is the 8th: no narrower than the exact interval.
    let interval = shift(&now, &before, deviations(0.02));
    is_near(interval.estimate, -30.5, 0.0);
    assert!(interval.low <= -76.0 && interval.high >= 15.0, "{interval:?}");
    assert!(interval.low > -100.0 && interval.high < 40.0, "{interval:?}");
}

#[test]
fn differences_are_those_of_a_list() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let mut some = || {
            let n = rng.usize(1..20);
            let mut values: Vec<u32> = (0..n).map(|_| rng.u32(0..50)).collect();
            values.sort_unstable();
            values
        };
        let (now, before) = (some(), some());
        let mut listed: Vec<i64> =
            now.iter().flat_map(|a| before.iter().map(|b| i64::from(*a) - i64::from(*b))).collect();
        listed.sort_unstable();
        let found: Vec<_> =
            (1..=listed.len() as u64).map(|k| difference(&now, &before, k)).collect();
        assert_eq!(found, listed);
    }
    assert_eq!(difference(&[u32::MAX], &[0], 1), i64::from(u32::MAX));
}

/// The interval leaves out 0 exactly when the statistic of Mann and Whitney is further from its mean
/// than `z` deviations.
#[test]
fn an_interval_is_the_other_face_of_the_test_by_ranks() {
    let mut rng = fastrand::Rng::with_seed(9);
    let mut claims = 0;
    for _ in 0..300 {
        let (m, n) = (rng.usize(20..60), rng.usize(20..60));
        let by = rng.u32(0..500);
        let mut some = |n, by| {
            // Without ties.
            let mut values: Vec<u32> =
                (0..n).map(|_| rng.u32(0..100_000) * 10 + by * 100).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let (before, now) = (some(m, 0), some(n, by * 10 + 1));
        let now: Vec<u32> = now.iter().map(|v| v + 3).collect();
        let below = now.iter().map(|v| before.iter().filter(|b| *b < v).count()).sum::<usize>();
        let (m, n) = (before.len() as f64, now.len() as f64);
        let deviation = (m * n * (m + n + 1.0) / 12.0).sqrt();
        let is_far = (m * n - below as f64) < (m * n / 2.0 - 2.0 * deviation).trunc();
        let seen = |sorted| Seen { sorted, inflation: 1.0 };
        let interval = shift(&seen(&now), &seen(&before), 2.0);
        assert_eq!(interval.low > 0.0, is_far, "{interval:?}");
        claims += usize::from(is_far);
    }
    assert!((50..250).contains(&claims), "{claims} of 300 are no test of both");
}

#[test]
fn with_the_fewest_samples_a_shift_of_all_is_claimed() {
    let z = deviations(0.0001);
    let n = (1..).find(|n| f64::from(*n) >= fewest(z)).expect("it is a number");
    let (low, high): (Vec<u32>, Vec<u32>) = ((0..n).collect(), (1_000..1_000 + n).collect());
    let seen = |sorted| Seen { sorted, inflation: 1.0 };
    assert!(shift(&seen(&high), &seen(&low), z).low > 0.0);
    assert!(shift(&seen(&low), &seen(&high), z).high < 0.0);
}

/// Four samples before and three now have 35 orders, all alike in chance; one of the four is above the
/// bound.
#[test]
fn the_chance_of_a_tail_is_that_of_all_orders() {
    let (before, now, above) = (4_u32, 3_u32, 1);
    let mut orders = [0_u32; 4];
    for order in 0_u32..1 << (before + now) {
        // A bit that is set is a sample of now; bits go up in latency.
        if order.count_ones() != now {
            continue;
        }
        let mut seen = 0;
        let mut beyond = 0;
        for bit in 0..before + now {
            let is_now = order >> bit & 1 == 1;
            seen += u32::from(!is_now);
            beyond += u32::from(is_now && seen >= before - above);
        }
        orders[beyond as usize] += 1;
    }
    let all: u32 = orders.iter().sum();
    assert_eq!(all, 35);
    for k in 1..=3 {
        let listed = f64::from(orders[k..].iter().sum::<u32>()) / f64::from(all);
        is_near(chance(k as u64, 3, 1, 4, 1.0), listed, 1e-12);
    }
}

#[test]
fn a_chance_is_one_also_of_many() {
    assert!(chance(0, 10_000, 500, 10_000, 1.0) >= 1.0);
    is_near(chance(1, 10_000, 500, 10_000, 1.0), 1.0, 1e-9);
    is_near(chance(500, 10_000, 500, 10_000, 1.0), 0.5, 0.02);
    assert!(chance(700, 10_000, 500, 10_000, 1.0) < 1e-6);
    assert!(chance(700, 10_000, 500, 10_000, 50.0) > 0.05, "bursts explain it");
    assert!(chance(5, 5, 20, 20, 1.0) >= 1.0, "a bound that all exceed says nothing");
}

#[test]
fn samples_that_are_repeated_count_once() {
    let mut rng = fastrand::Rng::with_seed(3);
    let alone: Vec<f64> = (0..2_000).map(|_| rng.f64()).collect();
    let repeated: Vec<f64> =
        alone.iter().take(200).flat_map(|x| std::iter::repeat_n(*x, 10)).collect();
    let (one, ten) = (inflation(&alone), inflation(&repeated));
    assert!((1.0..1.3).contains(&one), "{one} of independent samples");
    assert!((8.0..20.0).contains(&ten), "{ten} of samples in tens");
}

/// A process whose correlation is a^k has an integrated time of (1 + a) / (1 - a): 9 of 0.8.
#[test]
fn the_time_of_a_known_process_is_found() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut x = 0.0;
    let series: Vec<f64> = (0..20_000)
        .map(|_| {
            x = 0.8 * x + rng.f64() - 0.5;
            x
        })
        .collect();
    let found = inflation(&series);
    assert!((8.0..12.0).contains(&found), "{found}");
}

#[test]
fn what_never_changes_has_no_correlation() {
    for series in [&[][..], &[1.0], &[1.0; 100]] {
        is_near(inflation(series), 1.0, 0.0);
    }
}

#[test]
fn equal_values_share_a_rank() {
    assert_eq!(ranks(&[30, 10, 20, 10]), [4.0, 1.5, 3.0, 1.5]);
    assert!(ranks(&[]).is_empty());
}
