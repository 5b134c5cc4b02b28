//! A schedule as a short text: who goes on for how many steps, and what else happens.
//!
//! ```text
//! 0x3.1.T0.0x2.K1.P2      task 0 runs for three steps, task 1 for one, the time-out of task 0 fires, …
//! ```
//! It counts scheduling points, which are operations of the library: another version of Python makes the same.

use std::fmt::Write as _;

use crate::choice::{Choice, Process, Task};

/// Writes a schedule down.
#[must_use]
pub fn encode(choices: impl Iterator<Item = Choice>) -> String {
    let mut text = String::new();
    let mut choices = choices.peekable();
    while let Some(choice) = choices.next() {
        let mut times = 1;
        while choices.next_if_eq(&choice).is_some() {
            times += 1;
        }
        if !text.is_empty() {
            text.push('.');
        }
        let (letter, number) = match choice {
            Choice::Run(Task(task)) => ("", task),
            Choice::Expire(Task(task)) => ("T", task),
            Choice::Spurious(Task(task)) => ("W", task),
            Choice::Kill(Process(process)) => ("K", process),
            Choice::Stop(Process(process)) => ("S", process),
            Choice::Continue(Process(process)) => ("C", process),
            Choice::Pick(number) => ("P", number),
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
pub fn decode(text: &str) -> Option<Vec<Choice>> {
    let mut choices = Vec::new();
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
            _ => return None,
        };
        if times > 1_000_000 {
            return None;
        }
        choices.extend(std::iter::repeat_n(choice, times));
    }
    Some(choices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_as_it_was_written() {
        let text = "0x3.1.T0.0x2.K1.S0.C0.W2.P2";
        assert_eq!(encode(decode(text).unwrap().into_iter()), text);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["x", "Q1", "1x", "0x9999999999", "T"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
