//! The same choices once more.

use crate::choice::{Choice, Crossing};
use crate::record::Record;
use crate::strategy::Strategy;

/// Follows one schedule; after its end, or where it cannot be followed, whoever runs goes on.
#[derive(Debug)]
pub struct Replay {
    choices: Vec<Choice>,
    /// The first choice that was no option.
    pub strayed: Option<usize>,
    begun: bool,
}

impl Replay {
    /// To follow these choices, once.
    #[must_use]
    pub fn new(choices: Vec<Choice>) -> Self {
        Self { choices, strayed: None, begun: false }
    }
}

impl Strategy for Replay {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        if self.strayed.is_none()
            && let Some(wanted) = self.choices.get(crossing.number)
        {
            match crossing.options.iter().position(|option| option == wanted) {
                Some(index) => return Some(index),
                None => self.strayed = Some(crossing.number),
            }
        }
        Some(crossing.straight_on().unwrap_or(0))
    }

    fn end(&mut self, record: &Record) {
        // Where there was one option nobody was asked.
        let differs = |(ours, theirs): (&Choice, Choice)| *ours != theirs;
        let differing = self.choices.iter().zip(record.choices()).position(differs);
        self.strayed = self.strayed.or(differing);
    }
}
