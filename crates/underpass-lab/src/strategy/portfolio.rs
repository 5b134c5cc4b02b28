//! Several strategies that take turns: what one is blind to, another sees.

use crate::choice::Crossing;
use crate::record::Record;
use crate::strategy::Strategy;
use crate::strategy::pct::Pct;
use crate::strategy::pos::Pos;
use crate::strategy::surw::Surw;
use crate::strategy::urw::Urw;
use crate::strategy::walk::{Dice, Walk};

/// The random walk, PCT, POS, URW and SURW, schedule by schedule in turns. Each learns from all schedules.
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
        let turn = members.len() - 1;
        Self { members, turn }
    }
}

impl Strategy for Portfolio {
    fn begin(&mut self) -> bool {
        self.turn = (self.turn + 1) % self.members.len();
        self.members[self.turn].begin()
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        self.members[self.turn].choose(crossing)
    }

    fn end(&mut self, record: &Record) {
        for member in &mut self.members {
            member.end(record);
        }
    }
}
