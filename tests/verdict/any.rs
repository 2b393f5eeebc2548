//! The verdict on any run: every loss stands in exactly one attribution.

use megaconn::base::errno::Errno;
use megaconn::observe::stats::LostCause;
use megaconn::walls::diagnosis::diagnose;
use megaconn::walls::sign::Sign;
use megaconn::walls::symptom::Symptom::{self, Failed, Late, Lost, NotEnded, Untried};
use megaconn::walls::table;
use proptest::prelude::*;

use super::{rises, run_facts, server};

fn symptom() -> impl Strategy<Value = Symptom> {
    let errno = prop::sample::select(vec![
        Errno::ETIMEDOUT,
        Errno::ECONNREFUSED,
        Errno::ENFILE,
        Errno::ENOMEM,
        Errno::EADDRNOTAVAIL,
        Errno::EINVAL,
    ]);
    prop_oneof![
        errno.prop_map(Failed),
        prop::sample::select(LostCause::ALL.to_vec()).prop_map(Lost),
        Just(Untried),
        Just(Late),
        Just(NotEnded),
    ]
}

fn counter() -> impl Strategy<Value = &'static str> {
    let counters = table::all().flat_map(|wall| wall.signs).filter_map(|sign| match sign {
        Sign::Rises(counter) => Some(*counter),
        _ => None,
    });
    prop::sample::select(counters.collect::<Vec<_>>())
}

proptest! {
    /// Every loss stands in exactly one attribution, whichever counters rose.
    #[test]
    fn all_that_was_lost_is_charged_once(
        symptoms in prop::collection::btree_map(symptom(), 1_u64..1000, 0..6),
        rose in prop::collection::vec((counter(), 1_u64..500, any::<bool>()), 0..8),
        refused in 0_u64..300,
        has_server in any::<bool>(),
    ) {
        let mut run = run_facts();
        for (name, n, at_server) in rose {
            let end = if at_server { server(&mut run) } else { &mut run.client };
            rises(end, name, 7, 7 + n);
        }
        server(&mut run).figures = [("refused_total".to_owned(), refused), ("grow_failed_total".to_owned(), 0)].into();
        if !has_server {
            run.server = None;
        }
        let total: u64 = symptoms.values().sum();
        run.symptoms = symptoms;
        let diagnosis = diagnose(&run);
        prop_assert_eq!(diagnosis.walls.iter().map(|wall| wall.lost).sum::<u64>(), total);
        prop_assert!(diagnosis.walls.iter().all(|wall| wall.lost > 0 && !wall.evidence.is_empty()));
        prop_assert!(diagnosis.walls.is_sorted_by(|a, b| a.lost >= b.lost));
        prop_assert!(diagnosis.met_without_loss.iter().all(|wall| wall.lost == 0));
    }
}
