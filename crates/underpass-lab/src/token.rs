//! A schedule as a short text: who goes on for how many steps, and what else happens.
//!
//! ```text
//! 0x3.1.T0.0x2.K1.P2      task 0 runs for three steps, task 1 for one, the time-out of task 0 fires, …
//! 0x3.1-0x2r40            …, and then task 1 for one and task 0 for two, forty times
//! ```
//! It counts scheduling points, which are operations of the library: another version of Python makes the same.

use std::fmt::Write as _;

use crate::choice::{Choice, Process, Task};

/// The longest part of a schedule that is looked for again right behind itself, in words.
const LONGEST_PART: usize = 12;
/// How often a part comes at least before it is written only once.
const OFTEN: usize = 3;
/// Choices of the longest schedule that is read.
const MOST: usize = 1_000_000;

/// Writes a schedule down.
#[must_use]
pub fn encode(choices: impl Iterator<Item = Choice>) -> String {
    let words = words(choices);
    let (mut text, mut at) = (String::new(), 0);
    while at < words.len() {
        let left = &words[at..];
        let parts = (2..=LONGEST_PART).map(|length| (length, times(left, length)));
        let best = parts.filter(|(_, times)| *times >= OFTEN).max_by_key(|(length, times)| (length * times, *times));
        let (length, times) = best.unwrap_or((1, 1));
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&left[..length].join("-"));
        if times > 1 {
            let _ = write!(text, "r{times}");
        }
        at += length * times;
    }
    text
}

/// How often the first so many words come, one time right behind the other.
fn times(words: &[String], length: usize) -> usize {
    let Some(part) = words.get(..length) else { return 0 };
    words.chunks_exact(length).take_while(|chunk| *chunk == part).count()
}

/// One word for each choice that is not the one before again.
fn words(choices: impl Iterator<Item = Choice>) -> Vec<String> {
    let mut words = Vec::new();
    let mut choices = choices.peekable();
    while let Some(choice) = choices.next() {
        let mut times = 1;
        while choices.next_if_eq(&choice).is_some() {
            times += 1;
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
        words.push(if times > 1 { format!("{letter}{number}x{times}") } else { format!("{letter}{number}") });
    }
    words
}

/// Reads a schedule; none: it is not one.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<Choice>> {
    let mut choices = Vec::new();
    for part in text.split('.').filter(|part| !part.is_empty()) {
        let (part, times) = match part.split_once('r') {
            Some((part, times)) => (part, times.parse().ok()?),
            None => (part, 1_usize),
        };
        let mut once = Vec::new();
        for word in part.split('-') {
            let (choice, times) = read(word)?;
            if times > MOST - once.len() {
                return None;
            }
            once.extend(std::iter::repeat_n(choice, times));
        }
        if once.len().checked_mul(times)? > MOST - choices.len() {
            return None;
        }
        (0..times).for_each(|_| choices.extend_from_slice(&once));
    }
    Some(choices)
}

/// Reads a choice, and how often it comes.
fn read(word: &str) -> Option<(Choice, usize)> {
    let (word, times) = match word.split_once('x') {
        Some((word, times)) => (word, times.parse().ok()?),
        None => (word, 1),
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
    Some((choice, times))
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
    fn a_part_that_comes_again_and_again_is_written_once() {
        let turns = |count| (0..count).map(|turn| Choice::Run(Task(turn % 2)));
        assert_eq!(encode(turns(4)), "0.1.0.1");
        assert_eq!(encode(turns(4001)), "0-1r2000.0");
        let text = "2x9.0x3-1-2x2r500.K1";
        let choices = decode(text).unwrap();
        assert_eq!(choices.len(), 9 + 500 * 6 + 1);
        assert_eq!(encode(choices.into_iter()), text);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "x",
            "Q1",
            "1x",
            "0x9999999999",
            "T",
            "0r",
            "0-1r9999999",
            "0-r2",
            "-",
            "0x9r9r9",
            "0r18446744073709551615",
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
