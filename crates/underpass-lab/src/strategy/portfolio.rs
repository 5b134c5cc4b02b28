//! Several strategies that take turns: what one is blind to, another sees.

use crate::choice::Crossing;
use crate::record::Record;
use crate::strategy::Strategy;
use crate::strategy::pct::Pct;
use crate::strategy::pos::Pos;
use crate::strategy::surw::Surw;
use crate::strategy::urw::Urw;
use crate::strategy::walk::{Dice, Walk};

/// Who takes which turn: places in the list of members.
const ROUND: [usize; 8] = [PCT, SURW, URW, SURW, POS, SURW, WALK, SURW];
const WALK: usize = 0;
const PCT: usize = 1;
const POS: usize = 2;
const URW: usize = 3;
const SURW: usize = 4;

/// The random walk, PCT, POS, URW and SURW, schedule by schedule in turns. Each learns from all schedules.
///
/// Every second schedule is of SURW: on the bugs that the tests plant it is the best or close to it, so that the portfolio
/// needs at most about twice as many schedules as the best of its members would. The first is of PCT, which needs to know nothing.
#[derive(Debug)]
pub struct Portfolio {
    members: Vec<Box<dyn Strategy>>,
    turn: usize,
}

impl Portfolio {
    /// The schedules of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let members: Vec<Box<dyn Strategy>> = vec![
            Box::new(Walk::new(dice.roll())),
            Box::new(Pct::new(dice.roll())),
            Box::new(Pos::new(dice.roll())),
            Box::new(Urw::new(dice.roll())),
            Box::new(Surw::new(dice.roll())),
        ];
        Self { members, turn: ROUND.len() - 1 }
    }
}

impl Strategy for Portfolio {
    fn begin(&mut self) -> bool {
        self.turn = (self.turn + 1) % ROUND.len();
        self.members[ROUND[self.turn]].begin()
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        self.members[ROUND[self.turn]].choose(crossing)
    }

    fn end(&mut self, record: &Record) {
        for member in &mut self.members {
            member.end(record);
        }
    }
}
