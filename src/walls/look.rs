//! Looks for the signs of a wall in the facts of a run.

use crate::base::units::grouped;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::place::{At, Place};
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::Sign;
use crate::walls::wall::Wall;

/// The signs of a wall that are found at a side. What one kernel counts for both ends is said once,
/// of the server.
pub(super) fn signs_at(run: &RunFacts, wall: &Wall, side: Place) -> Vec<(Sign, Evidence)> {
    let is_said_elsewhere = |sign: &&Sign| {
        run.shares_kernel && wall.at == At::Either && side == Place::Client && sign.is_of_kernel()
    };
    // The log is the whole host's. What this network namespace counts tells whose a line is.
    let counts = |sign: &Sign| match sign {
        Sign::Rises(counter) => run.end(side).and_then(|end| end.rise(counter)).is_some(),
        _ => false,
    };
    let is_counted = wall.signs.iter().any(counts);
    let is_anothers = |sign: &&Sign| is_counted && matches!(sign, Sign::Logged(_));
    let signs = wall.signs.iter().filter(|sign| !is_said_elsewhere(sign) && !is_anothers(sign));
    signs.filter_map(|sign| Some((*sign, look_for(run, *sign, side)?))).collect()
}

/// The evidence of a sign at a side, if it is there.
fn look_for(run: &RunFacts, sign: Sign, side: Place) -> Option<Evidence> {
    let name = side.name();
    let counted = |n: u64, text: String, confidence| {
        (n > 0).then_some(Evidence { text, count: Some(n), confidence })
    };
    match sign {
        Sign::Rises(counter) => {
            let (before, now) = run.end(side)?.counters.as_ref()?;
            let (was, is) = (before.get(counter)?, now.get(counter)?);
            let line = format!("{name}: {counter} {} -> {}", grouped(was), grouped(is));
            counted(is.saturating_sub(was), line, Confidence::Likely)
        }
        Sign::Counted(figure) => {
            let n = run.end(side)?.figure(figure)?;
            counted(n, format!("{name}: {figure} 0 -> {}", grouped(n)), Confidence::Certain)
        }
        Sign::Errno(errno) => {
            let n = run.end(side)?.failed.get(&errno.to_string()).copied()?;
            counted(n, format!("{name}: {errno} {} times", grouped(n)), Confidence::Certain)
        }
        Sign::Logged(text) => {
            run.end(side)?;
            let line = run.log_of(side)?.iter().find(|line| line.contains(text))?;
            let text = format!("kernel log: {line}");
            Some(Evidence { text, count: None, confidence: Confidence::Likely })
        }
        // What became of connections shows at the client, wherever the wall stands.
        Sign::Kernel(_, see) | Sign::Became(_, see) | Sign::Seen(_, see) => see(run, side),
    }
}
