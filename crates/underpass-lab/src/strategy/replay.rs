//! The same choices once more.

use crate::choice::{Choice, Crossing};
use crate::record::Record;
use crate::strategy::Strategy;
use crate::token::Word;

/// Where a schedule could not be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The choice of this schedule, from 0.
    pub step: usize,
    /// The word that was to be followed.
    pub wanted: Word,
    /// What there was to choose from; nothing: the schedule had ended.
    pub offered: Vec<Choice>,
}

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
    /// Choices made, by this strategy or since there was only one.
    steps: usize,
    strayed: Option<Stray>,
    begun: bool,
}

impl Replay {
    /// To follow this schedule, once.
    #[must_use]
    pub fn new(words: Vec<Word>, follow: Follow) -> Self {
        Self { words, follow, next: 0, chances: 0, steps: 0, strayed: None, begun: false }
    }

    /// Which of the options is the next of the schedule.
    fn follow(&mut self, crossing: &Crossing<'_>) -> usize {
        if crossing.refusal {
            self.next += 1;
            return 1;
        }
        self.chances = 0;
        while self.strayed.is_none()
            && let Some(wanted) = self.words.get(self.next).copied()
        {
            self.next += 1;
            if let Some(found) = crossing.options.iter().position(|option| Word::Choice(*option) == wanted) {
                return found;
            }
            self.stray(wanted, crossing.options);
        }
        crossing.straight_on().unwrap_or(0)
    }

    /// Note where the schedule could not be followed, the first time.
    fn stray(&mut self, wanted: Word, offered: &[Choice]) {
        if self.follow == Follow::Exactly && self.strayed.is_none() {
            self.strayed = Some(Stray { step: self.steps, wanted, offered: offered.to_vec() });
        }
    }
}

impl Strategy for Replay {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    fn passes(&mut self) -> bool {
        let refused = self.strayed.is_none() && self.words.get(self.next) == Some(&Word::Refuse(self.chances));
        self.chances += 1;
        !refused
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        let chosen = self.follow(crossing);
        self.steps += 1;
        Some(chosen)
    }

    fn forced(&mut self, choice: Choice) {
        self.chances = 0;
        while self.follow == Follow::Loosely && matches!(self.words.get(self.next), Some(Word::Refuse(_))) {
            self.next += 1;
        }
        match self.words.get(self.next) {
            Some(word) if *word == Word::Choice(choice) => self.next += 1,
            Some(word) => self.stray(*word, &[choice]),
            None => {}
        }
        self.steps += 1;
    }

    fn strayed(&self) -> Option<Stray> {
        let left = || {
            let wanted = *self.words.get(self.next)?;
            Some(Stray { step: self.steps, wanted, offered: Vec::new() })
        };
        self.strayed.clone().or_else(left)
    }

    fn end(&mut self, _record: &Record) {}
}
