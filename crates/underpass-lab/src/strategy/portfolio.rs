//! Several strategies that take turns: what one is blind to, another sees.

use crate::choice::Crossing;
use crate::record::Record;
use crate::strategy::Strategy;
use crate::strategy::pct::Pct;
use crate::strategy::pos::Pos;
use crate::strategy::surw::Surw;
use crate::strategy::turns::Turns;
use crate::strategy::urw::Urw;
use crate::strategy::walk::{Dice, Walk};

/// The first schedules, which are the same for every seed, are round robin: a switch at every step, and none without need.
const OPENING: usize = 2;
/// Who takes which turn then: places in the list of members.
const ROUND: [usize; 19] =
    [SURW, WALK, SURW, TURNS, SURW, PCT, SURW, SURW, URW, SURW, WALK, SURW, POS, SURW, SURW, URW, SURW, WALK, SURW];
const WALK: usize = 0;
const PCT: usize = 1;
const POS: usize = 2;
const URW: usize = 3;
const SURW: usize = 4;
const TURNS: usize = 5;

/// Round robin, the random walk, PCT, POS, URW and SURW, schedule by schedule in turns. Each learns from all schedules.
///
/// More than every second schedule is of SURW: on rare bugs that the tests plant it is the best or close to it, so that the
/// portfolio needs at most about twice as many schedules as the best of its members would. The walk comes early, since it spends
/// its deaths and time-outs early.
#[derive(Debug)]
pub struct Portfolio {
    members: Vec<Box<dyn Strategy>>,
    /// How many schedules have begun.
    begun: usize,
    /// Whose this one is.
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
            Box::new(Turns::new(dice.roll())),
        ];
        Self { members, begun: 0, turn: TURNS }
    }
}

impl Strategy for Portfolio {
    fn begin(&mut self) -> bool {
        self.turn = if self.begun < OPENING { TURNS } else { ROUND[(self.begun - OPENING) % ROUND.len()] };
        self.begun += 1;
        self.members[self.turn].begin()
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        self.members[self.turn].choose(crossing)
    }

    fn end(&mut self, record: &Record) {
        for (place, member) in self.members.iter_mut().enumerate() {
            if place < 9 {
                member.end(record);
            }
        }
    }
}
