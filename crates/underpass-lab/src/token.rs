//! A schedule as a short text: who goes on for how many steps, and what else happens.
//!
//! ```text
//! 0x3.1.T0.0x2.K1.P2      task 0 runs for three steps, task 1 for one, the time-out of task 0 fires, …
//! 0x2.R1                  of the operations in that step that can be refused, the second one is
//! ```
//! It counts scheduling points, which are operations of the library: another version of Python makes the same.

use std::fmt::Write as _;

use crate::choice::{Choice, Process, Task};

/// One word of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// A choice.
    Choice(Choice),
    /// The n-th chance to refuse an operation, from 0 since the last choice, is used: that others are not needs no words.
    Refuse(u32),
}

/// Writes a schedule down.
#[must_use]
pub fn encode(words: impl Iterator<Item = Word>) -> String {
    let mut text = String::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let mut times = 1;
        while words.next_if_eq(&word).is_some() {
            times += 1;
        }
        if !text.is_empty() {
            text.push('.');
        }
        let (letter, number) = match word {
            Word::Choice(Choice::Run(Task(task))) => ("", task),
            Word::Choice(Choice::Expire(Task(task))) => ("T", task),
            Word::Choice(Choice::Spurious(Task(task))) => ("W", task),
            Word::Choice(Choice::Kill(Process(process))) => ("K", process),
            Word::Choice(Choice::Stop(Process(process))) => ("S", process),
            Word::Choice(Choice::Continue(Process(process))) => ("C", process),
            Word::Choice(Choice::Pick(number)) => ("P", number),
            Word::Refuse(number) => ("R", number),
        };
        let _ = write!(text, "{letter}{number}");
        if times > 1 {
            let _ = write!(text, "x{times}");
        }
    }
    text
}

/// Reads a schedule; none: it is not one.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    for word in text.split('.').filter(|word| !word.is_empty()) {
        let (word, times) = match word.split_once('x') {
            Some((word, times)) => (word, times.parse().ok()?),
            None => (word, 1_usize),
        };
        let digits = word.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
        let number = digits.parse().ok()?;
        let choice = match &word[..word.len() - digits.len()] {
            "" => Choice::Run(Task(number)),
            "T" => Choice::Expire(Task(number)),
            "W" => Choice::Spurious(Task(number)),
            "K" => Choice::Kill(Process(number)),
            "S" => Choice::Stop(Process(number)),
            "C" => Choice::Continue(Process(number)),
            "P" => Choice::Pick(number),
            "R" => {
                words.push(Word::Refuse(number));
                continue;
            }
            _ => return None,
        };
        if times > 1_000_000 {
            return None;
        }
        words.extend(std::iter::repeat_n(Word::Choice(choice), times));
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_as_it_was_written() {
        let text = "0x3.1.T0.0x2.R1.K1.S0.C0.W2.P2";
        assert_eq!(encode(decode(text).unwrap().into_iter()), text);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["x", "Q1", "1x", "0x9999999999", "T"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
