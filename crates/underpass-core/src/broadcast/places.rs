//! The readers for whom a writer waits, each at a place of its own that its process has.
//!
//! A place pins what its reader has not got. It changes hands without a lock, as the writer may be stopped with the one there is.
//!
//! Invariant: what lies behind the position of a place whose process lives is not overwritten. Who takes a place pins everything first, and
//! then chooses where it begins: the writer sees that it is there, or it sees what the writer is about to overwrite.

use underpass_shm::layout::broadcast::{PLACES, PlaceWords};
use underpass_shm::life::{Life, Me};
use underpass_shm::place::PlacedSlice;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use underpass_shm::sync::fence;

use crate::kernel::{Kernel, Watch};
use crate::planted::{Fault, planted};
use crate::{Error, Result};

/// One that reads, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// The process that reads.
    pub process: Life,
    /// Messages that were published and that it has not got.
    pub behind: u64,
}

/// The places; none, where the writer waits for nobody.
#[derive(Debug, Clone)]
pub struct Places(PlacedSlice<PlaceWords>);

impl Places {
    pub fn new(places: PlacedSlice<PlaceWords>) -> Self {
        Self(places)
    }

    /// The writer waits for its readers.
    #[inline]
    pub fn are_there(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes a place, which pins everything from then on: one that is free, or else a dead one's.
    pub fn claim(&self, kernel: &dyn Kernel) -> Result<usize> {
        let me = kernel.me()?;
        let take = |old: Life, words: &PlaceWords| {
            words.process.compare_exchange(old.0, me.process.0, AcqRel, Relaxed).is_ok()
        };
        let free = || self.0.iter().position(|words| take(Life::NOBODY, words));
        let left = || {
            self.0.iter().position(|words| {
                let process = Life(words.process.load(Acquire));
                process != Life::NOBODY && process != me.process && !kernel.alive(process) && take(process, words)
            })
        };
        let index = free().or_else(left).ok_or_else(|| {
            Error::Misuse(format!(
                "{PLACES} subscriptions read it, and no more fit, since its writer waits for each: close one, or make it with \
                 when_full='overwrite', which any number can read"
            ))
        })?;
        self.0[index].position.store(0, Relaxed);
        // SYNC(broadcast-6): pairs with the writer's second look: it sees this one, or this one sees the start that it has raised.
        fence(SeqCst);
        Ok(index)
    }

    /// Whether a place is that process's: of a forked copy it is not.
    #[inline]
    pub fn is_of(&self, index: usize, process: Life) -> bool {
        self.0[index].process.load(Relaxed) == process.0
    }

    /// From now on a place pins what lies behind that position, where that message begins.
    #[inline]
    pub fn hold(&self, index: usize, position: u64, next: u64) {
        let words = &self.0[index];
        words.next.store(next, Relaxed);
        // SYNC(broadcast-5): pairs with `holds`: what was copied before is not overwritten before.
        words.position.store(position, Release);
    }

    /// Gives a place back, if it is that process's.
    pub fn leave(&self, index: usize, process: Life) -> bool {
        self.0[index].process.compare_exchange(process.0, 0, AcqRel, Relaxed).is_ok()
    }

    /// Somebody may have to get something that lies before that position: a peek.
    pub fn seem_to_hold(&self, before: u64) -> bool {
        self.0.iter().any(|words| Self::holds(words, before).is_some())
    }

    /// Somebody who lives has to get something that lies before that position. Those have it who have died; the others are watched.
    pub fn hold_back(&self, kernel: &dyn Kernel, me: Me, before: u64, mut watch: Option<&mut Watch<'_>>) -> bool {
        let mut held = false;
        for words in self.0.iter() {
            // Another may have taken over the place of one who has died: then that one is looked at.
            while let Some(process) = Self::holds(words, before) {
                if process != me.process && !kernel.alive(process) && !planted(Fault::ReaderOfTheDead) {
                    // Who is not the first to give it back finds it free, or taken, at the next look.
                    let _is_first = words.process.compare_exchange(process.0, 0, AcqRel, Relaxed).is_ok();
                    continue;
                }
                held = true;
                if process != me.process
                    && let Some(watch) = watch.as_deref_mut()
                {
                    watch.life(process);
                }
                break;
            }
        }
        held
    }

    /// Who has this place and something to get that lies before that position.
    #[inline]
    fn holds(words: &PlaceWords, before: u64) -> Option<Life> {
        let process = Life(words.process.load(Acquire));
        // SYNC(broadcast-5)
        (process != Life::NOBODY && words.position.load(Acquire) < before).then_some(process)
    }

    /// Those who live, the slowest first: a peek.
    pub fn followers(&self, kernel: &dyn Kernel, count: u64) -> Vec<Follower> {
        let of = |words: &PlaceWords| Follower {
            process: Life(words.process.load(Acquire)),
            behind: count.saturating_sub(words.next.load(Relaxed)),
        };
        let lives = |it: &Follower| it.process != Life::NOBODY && kernel.alive(it.process);
        let mut followers: Vec<_> = self.0.iter().map(of).filter(lives).collect();
        followers.sort_by_key(|follower| std::cmp::Reverse(follower.behind));
        followers
    }
}
