//! The same choices once more.

use crate::choice::{Choice, Crossing};
use crate::record::Record;
use crate::strategy::Strategy;

/// How closely a schedule is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Choice by choice, until one cannot be followed.
    Exactly,
    /// As far as it goes: a choice that is no option is left out. For those who make a schedule smaller.
    Loosely,
}

/// Follows one schedule; after its end, or where it cannot be followed, whoever runs goes on.
#[derive(Debug)]
pub struct Replay {
    choices: Vec<Choice>,
    follow: Follow,
    next: usize,
    strayed: bool,
    begun: bool,
}

impl Replay {
    /// To follow these choices, once.
    #[must_use]
    pub fn new(choices: Vec<Choice>, follow: Follow) -> Self {
        Self { choices, follow, next: 0, strayed: false, begun: false }
    }
}

impl Strategy for Replay {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        while !self.strayed
            && let Some(wanted) = self.choices.get(self.next)
        {
            self.next += 1;
            let found = crossing.options.iter().position(|option| option == wanted);
            if found.is_some() {
                return found;
            }
            self.strayed = self.follow == Follow::Exactly;
        }
        Some(crossing.straight_on().unwrap_or(0))
    }

    fn forced(&mut self, choice: Choice) {
        if self.choices.get(self.next) == Some(&choice) {
            self.next += 1;
        } else {
            self.strayed |= self.follow == Follow::Exactly;
        }
    }

    fn end(&mut self, _record: &Record) {}
}
