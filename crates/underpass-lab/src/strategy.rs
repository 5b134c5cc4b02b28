//! Who decides: a strategy, one file each.

pub mod census;
pub mod dpor;
pub mod every;
pub mod faults;
pub mod order;
pub mod pct;
pub mod portfolio;
pub mod pos;
pub mod remaining;
pub mod replay;
pub mod surw;
pub mod turns;
pub mod urw;
pub mod walk;

use crate::choice::{Choice, Crossing};
use crate::record::Record;

/// Decides schedules, one after another.
pub trait Strategy: Send + std::fmt::Debug {
    /// A schedule begins; false: there is none that this strategy has not run.
    fn begin(&mut self) -> bool;

    /// Which of the options happens. It is not asked where there is only one. None: this schedule need not be run to its end.
    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize>;

    /// Whether this chance to refuse an operation passes without a choice, and stands nowhere: for those who follow a schedule.
    fn passes(&mut self) -> bool {
        false
    }

    /// There was only one option.
    fn forced(&mut self, _choice: Choice) {}

    /// The schedule has ended, and this is what happened.
    fn end(&mut self, record: &Record);

    /// Who finds a lock taken may stand back from it, as if it had been chosen later.
    fn bars(&self) -> bool {
        false
    }

    /// Where the schedule that was to be followed could not be; asked after its end.
    fn strayed(&self) -> Option<replay::Stray> {
        None
    }

    /// Schedules run that differ in more than the order of steps that do not touch the same; none: it does not know.
    fn classes(&self) -> Option<u64> {
        None
    }

    /// Schedules cut off, since others show what they would.
    fn pruned(&self) -> u64 {
        0
    }

    /// The estimated part of all schedules that has been run, 0 to 1; none: it does not know.
    fn covered(&self) -> Option<f64> {
        None
    }
}

/// What [`named`] knows.
pub const NAMES: [&str; 9] = ["portfolio", "dpor", "walk", "turns", "pct", "pos", "urw", "surw", "every"];

/// The strategy of a name, with the schedules of a seed; none: nothing is called that.
#[must_use]
pub fn named(name: &str, seed: u64) -> Option<Box<dyn Strategy>> {
    Some(match name {
        "walk" => Box::new(walk::Walk::new(seed)),
        "turns" => Box::new(turns::Turns::new(seed)),
        "pct" => Box::new(pct::Pct::new(seed)),
        "pos" => Box::new(pos::Pos::new(seed)),
        "urw" => Box::new(urw::Urw::new(seed)),
        "surw" => Box::new(surw::Surw::new(seed)),
        "portfolio" => Box::new(portfolio::Portfolio::new(seed)),
        "dpor" => Box::new(dpor::Dpor::new()),
        "every" => Box::new(every::Every::new()),
        _ => return None,
    })
}
