//! Where a run is, and which orders it takes there.

use megaconn::observe::control::Order;

/// Where a run is, as far as it matters to orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Bystanders watch the idle host, before the first plateau.
    Idle,
    /// Before the first plateau, between two, or in a sweep.
    Between,
    /// As many are opened as there can be.
    Filling,
    /// A plateau that may be ended.
    Plateau,
    /// All plateaus are over.
    Ending,
    /// The report is made.
    Over,
}

impl Stage {
    /// Whether an order is carried out now; else it waits, and the ones behind it do not.
    pub(crate) fn takes(self, order: Order) -> bool {
        match order {
            Order::Connections(_) | Order::Sweep => self == Stage::Plateau,
            Order::Stop => matches!(self, Stage::Idle | Stage::Plateau | Stage::Filling),
            Order::Rate(_) | Order::MessageRate(_) | Order::Pause | Order::Resume => true,
        }
    }

    /// Whether orders can be carried out at all from now on.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Stage::Ending | Stage::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_ended_in_a_plateau_alone() {
        let orders = [Order::Connections(1), Order::Sweep, Order::Stop, Order::Resume];
        for (stage, expected) in [
            (Stage::Idle, [false, false, true, true]),
            (Stage::Between, [false, false, false, true]),
            (Stage::Filling, [false, false, true, true]),
            (Stage::Plateau, [true; 4]),
            (Stage::Ending, [false, false, false, true]),
        ] {
            assert_eq!(orders.map(|order| stage.takes(order)), expected, "{stage:?}");
        }
    }
}
