//! Who decides: a strategy, one file each.

pub mod dpor;
pub mod replay;
pub mod walk;

use crate::choice::Crossing;
use crate::record::Record;

/// Decides schedules, one after another.
pub trait Strategy: Send + std::fmt::Debug {
    /// A schedule begins; false: there is none that this strategy has not run.
    fn begin(&mut self) -> bool;

    /// Which of the options happens. It is not asked where there is only one. None: this schedule need not be run to its end.
    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize>;

    /// The schedule has ended, and this is what happened.
    fn end(&mut self, record: &Record);
}
