//! The lab's engine: a world of simulated processes, and one schedule after another of what happens in it.
//!
//! [`world`] is what a kernel would know: who lives, who sleeps on which words, what time it is. [`schedule`] runs one
//! schedule: at each scheduling point it lists what can happen next ([`choice`]), lets a [`strategy`] choose, does it, and
//! writes it down ([`record`]). What the processes do between two points is none of its business: greenlets of Python run
//! the real objects, tests run toys.
#![forbid(unsafe_code)]

pub mod choice;
pub mod record;
pub mod schedule;
pub mod strategy;
pub mod token;
pub mod world;
