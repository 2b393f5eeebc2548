//! What is known of the opening of as many connections as there can be, while it goes on and after: when it
//! is over, and what of the connects and connections was the end itself. That is the evidence of a wall, and
//! nothing that the run lost.

use std::time::Duration;

use megaconn::observe::stats::ClientTotals;
use megaconn::results::max::Max;
use megaconn::results::plateau::{Counts, Plateau};
use megaconn::walls::host::Host;
use megaconn::walls::run_facts::NoMore;

use crate::measure::files::FilesWatchdog;

/// How many connections were opened, and how long that took.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) connections: u64,
    pub(crate) time: Duration,
}

/// The opening of as many as there can be.
pub(crate) struct Filling {
    /// What was counted when it began.
    before: ClientTotals,
    /// What was counted when each connection had been opened and verified, or given up.
    after: Option<ClientTotals>,
    files: FilesWatchdog,
    /// That few files were left to others then, of a run that passes `fs.file-max`.
    files_passed: Option<String>,
    /// Every core was told to open nothing more.
    is_over: bool,
    /// A core has met a wall.
    is_at_wall: bool,
    /// Most of a step came to nothing.
    is_in_vain: bool,
    /// Messages that verified the steps, and their answers.
    asked: u64,
    answered: u64,
}

impl Filling {
    /// It begins, when so much has been counted.
    pub(crate) fn begin(before: ClientTotals, host: &Host) -> Filling {
        Filling {
            before,
            after: None,
            files: FilesWatchdog::new(host),
            files_passed: None,
            is_over: false,
            is_at_wall: false,
            is_in_vain: false,
            asked: 0,
            answered: 0,
        }
    }

    /// Looks whether few files are left to others, or one of the cores is at a wall: whether the others are
    /// to be told. It is `true` once.
    pub(crate) fn is_to_end(&mut self, is_core_at_wall: bool) -> bool {
        self.is_at_wall |= is_core_at_wall;
        if self.is_over {
            return false;
        }
        self.is_over = is_core_at_wall || self.files.look();
        self.is_over
    }

    /// Takes what a step has come to; whether it was the last one.
    pub(crate) fn is_over_after(&mut self, counted: &ClientTotals) -> bool {
        let gone = counted.lost.iter().sum::<u64>() + counted.connect_failed_total;
        let tried = counted.connected_total + counted.connect_failed_total;
        self.is_in_vain = gone > 0 && gone.saturating_mul(2) >= tried;
        self.is_over || self.is_in_vain
    }

    /// A step was verified.
    pub(crate) fn verified(&mut self, counted: &ClientTotals) {
        self.asked += counted.messages_sent_total;
        self.answered += counted.messages_total;
    }

    /// Each connection was opened and verified, or given up.
    pub(crate) fn ends(&mut self, after: ClientTotals) {
        (self.after, self.is_over) = (Some(after), true);
        self.files_passed = self.files.passed();
    }

    /// That few files were left to others when all had been opened, where that did not end it.
    pub(crate) fn files_passed(&self) -> Option<&str> {
        self.files_passed.as_deref()
    }

    /// What it came to; without a number as long as it goes on.
    pub(crate) fn max(&self) -> Max {
        let none = Max { failed: Counts::none(), lost: Counts::none(), ..Max::default() };
        let Some(after) = &self.after else { return none };
        let mut at_wall = after.since(&self.before);
        // Connections that had been held before are lost, and no evidence.
        let mut held_before = self.before.connections.saturating_sub(after.connections);
        for lost in &mut at_wall.lost {
            let of_them = held_before.min(*lost);
            (*lost, held_before) = (*lost - of_them, held_before - of_them);
        }
        Max {
            connections: after.connections.into(),
            failed: Counts::by_errno(&at_wall.failed),
            lost: Counts::by_cause(&at_wall.lost),
            ..Max::default()
        }
    }

    /// Leaves out of the plateau, up to `totals`, what belongs to the opening: the messages that verified its
    /// steps, and pushes that were missing before the hold.
    pub(crate) fn leave_out(&self, plateau: &mut Plateau, totals: &ClientTotals) {
        let messages = &mut plateau.messages;
        messages.sent = messages.sent.or_zero().saturating_sub(self.asked).into();
        messages.received = messages.received.or_zero().saturating_sub(self.answered).into();
        if let (Some(pushes), Some(after)) = (&mut *plateau.pushes, &self.after) {
            let since = totals.since(after);
            let missing = since.pushes_overdue_total.saturating_sub(since.pushes_late_total);
            pushes.missing = pushes.missing.map(|_| missing).into();
        }
    }

    /// Pushes that were overdue when all had been opened.
    pub(crate) fn overdue_at_wall(&self) -> u64 {
        self.after.as_ref().map_or(0, |after| after.pushes_overdue_total)
    }

    /// What ended it, where that was no failed connect and no connection that was ended: with the memory
    /// reserve met, or all of `most` tuples in use.
    pub(crate) fn no_more(&self, is_reserve_met: bool, most: u64) -> Option<NoMore> {
        self.after.as_ref()?;
        if let Some(text) = self.files.met() {
            return Some(NoMore::Files(text.to_owned()));
        }
        if is_reserve_met {
            return Some(NoMore::Memory);
        }
        (!self.is_at_wall && !self.is_in_vain).then_some(NoMore::Tuples(most))
    }
}

#[cfg(test)]
mod tests {
    use megaconn::host::procfs::ProcFs;
    use megaconn::observe::stats::{ClientStats, LostCause};

    use super::*;

    fn filling(core: &ClientStats) -> Filling {
        let root = tempfile::tempdir().expect("there is a place for temporary files");
        let host = Host { procfs: ProcFs::at(root.path()), ..Host::read(1_000, 0) };
        Filling::begin(totals(core), &host)
    }

    fn totals(core: &ClientStats) -> ClientTotals {
        ClientTotals::of([core].into_iter())
    }

    #[test]
    fn a_step_of_which_most_came_to_nothing_is_the_last() {
        let core = ClientStats::default();
        let mut filling = filling(&core);
        core.connected_total.add(100);
        core.lost[LostCause::Silent as usize].add(49);
        assert!(!filling.is_over_after(&totals(&core)));
        core.connect_failed_total.add(1);
        core.lost[LostCause::Silent as usize].add(1);
        assert!(filling.is_over_after(&totals(&core)));
        filling.ends(totals(&core));
        assert_eq!(filling.no_more(false, 7), None, "what became of them tells");
        assert_eq!(filling.no_more(true, 7), Some(NoMore::Memory));
    }

    #[test]
    fn it_is_to_end_once_and_without_a_wall_all_tuples_are_in_use() {
        let core = ClientStats::default();
        let mut at_wall = filling(&core);
        assert!(!at_wall.is_to_end(false) && at_wall.is_to_end(true) && !at_wall.is_to_end(true));
        assert!(at_wall.is_over_after(&totals(&core)));
        let mut all = filling(&core);
        assert!(!all.is_over_after(&totals(&core)));
        assert_eq!(all.no_more(false, 7), None, "it goes on");
        all.ends(totals(&core));
        assert_eq!(all.no_more(false, 7), Some(NoMore::Tuples(7)));
    }

    #[test]
    fn what_came_to_nothing_is_evidence_but_for_what_had_been_held() {
        let core = ClientStats::default();
        core.connections.set(50);
        let mut filling = filling(&core);
        assert_eq!(*filling.max().connections, None);
        core.lost[LostCause::Reset as usize].add(30);
        core.connections.set(45);
        filling.ends(totals(&core));
        let max = filling.max();
        assert_eq!((*max.connections, max.lost.sum()), (Some(45), 25));
    }
}
