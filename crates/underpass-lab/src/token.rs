//! A schedule as a short text: who goes on for how many steps, and what else happens.
//!
//! ```text
//! 0x3.1.T0.0x2.K1.P2      task 0 runs for three steps, task 1 for one, the time-out of task 0 fires, …
//! 0x2.R1                  of the operations in that step that can be refused, the second one is
//! 0x3.1-0x2r40            …, and then task 1 for one and task 0 for two, forty times
//! ```
//! It counts scheduling points, which are operations of the library: another version of Python makes the same.

use std::fmt::Write as _;

use crate::choice::{Choice, Process, Task};

/// The longest part of a schedule that is looked for again right behind itself, in terms.
const LONGEST_PART: usize = 12;
/// How often a part comes at least before it is written only once.
const OFTEN: usize = 3;
/// Words of the longest schedule that is read.
const MOST: usize = 1_000_000;

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
pub fn encode(words: impl IntoIterator<Item = Word>) -> String {
    let terms = terms(words);
    let (mut text, mut at) = (String::new(), 0);
    while at < terms.len() {
        let left = &terms[at..];
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

/// How often the first so many terms come, one time right behind the other.
fn times(terms: &[String], length: usize) -> usize {
    let Some(part) = terms.get(..length) else { return 0 };
    terms.chunks_exact(length).take_while(|chunk| *chunk == part).count()
}

/// One term for each word that is not the one before again.
fn terms(words: impl IntoIterator<Item = Word>) -> Vec<String> {
    let mut terms = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let mut times = 1;
        while words.next_if_eq(&word).is_some() {
            times += 1;
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
        terms.push(if times > 1 { format!("{letter}{number}x{times}") } else { format!("{letter}{number}") });
    }
    terms
}

/// Reads a schedule; none: it is not one.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    for part in text.split('.').filter(|part| !part.is_empty()) {
        let (part, times) = match part.split_once('r') {
            Some((part, times)) => (part, times.parse().ok()?),
            None => (part, 1_usize),
        };
        let mut once = Vec::new();
        for term in part.split('-') {
            let (word, times) = read(term)?;
            if times > MOST - once.len() {
                return None;
            }
            once.extend(std::iter::repeat_n(word, times));
        }
        if once.len().checked_mul(times)? > MOST - words.len() {
            return None;
        }
        (0..times).for_each(|_| words.extend_from_slice(&once));
    }
    Some(words)
}

/// Reads a word, and how often it comes.
fn read(term: &str) -> Option<(Word, usize)> {
    let (term, times) = match term.split_once('x') {
        Some((term, times)) => (term, times.parse().ok()?),
        None => (term, 1),
    };
    let digits = term.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
    let number = digits.parse().ok()?;
    let word = match &term[..term.len() - digits.len()] {
        "" => Word::Choice(Choice::Run(Task(number))),
        "T" => Word::Choice(Choice::Expire(Task(number))),
        "W" => Word::Choice(Choice::Spurious(Task(number))),
        "K" => Word::Choice(Choice::Kill(Process(number))),
        "S" => Word::Choice(Choice::Stop(Process(number))),
        "C" => Word::Choice(Choice::Continue(Process(number))),
        "P" => Word::Choice(Choice::Pick(number)),
        "R" => Word::Refuse(number),
        _ => return None,
    };
    Some((word, times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_as_it_was_written() {
        let text = "0x3.1.T0.0x2.R1.K1.S0.C0.W2.P2";
        assert_eq!(encode(decode(text).unwrap()), text);
    }

    #[test]
    fn a_part_that_comes_again_and_again_is_written_once() {
        let turns = |count| (0..count).map(|turn| Word::Choice(Choice::Run(Task(turn % 2))));
        assert_eq!(encode(turns(4)), "0.1.0.1");
        assert_eq!(encode(turns(4001)), "0-1r2000.0");
        let text = "2x9.0x3-1-2x2r500.K1";
        let words = decode(text).unwrap();
        assert_eq!(words.len(), 9 + 500 * 6 + 1);
        assert_eq!(encode(words), text);
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
