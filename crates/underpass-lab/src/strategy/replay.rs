//! The same choices once more.

use crate::choice::{Choice, Crossing};
use crate::record::Record;
use crate::strategy::Strategy;
use crate::token::Word;

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
    words: Vec<Word>,
    follow: Follow,
    next: usize,
    /// Chances to refuse an operation since the last choice of another kind.
    chances: u32,
    strayed: bool,
    begun: bool,
}

impl Replay {
    /// To follow this schedule, once.
    #[must_use]
    pub fn new(words: Vec<Word>, follow: Follow) -> Self {
        Self { words, follow, next: 0, chances: 0, strayed: false, begun: false }
    }
}

impl Strategy for Replay {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    fn passes(&mut self) -> bool {
        let refused = !self.strayed && self.words.get(self.next) == Some(&Word::Refuse(self.chances));
        self.chances += 1;
        !refused
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        if crossing.refusal {
            self.next += 1;
            return Some(1);
        }
        self.chances = 0;
        while !self.strayed
            && let Some(wanted) = self.words.get(self.next)
        {
            self.next += 1;
            let found = crossing.options.iter().position(|option| Word::Choice(*option) == *wanted);
            if found.is_some() {
                return found;
            }
            self.strayed = self.follow == Follow::Exactly;
        }
        Some(crossing.straight_on().unwrap_or(0))
    }

    fn forced(&mut self, choice: Choice) {
        self.chances = 0;
        while self.follow == Follow::Loosely && matches!(self.words.get(self.next), Some(Word::Refuse(_))) {
            self.next += 1;
        }
        if self.words.get(self.next) == Some(&Word::Choice(choice)) {
            self.next += 1;
        } else {
            self.strayed |= self.follow == Follow::Exactly;
        }
    }

    fn end(&mut self, _record: &Record) {}
}
