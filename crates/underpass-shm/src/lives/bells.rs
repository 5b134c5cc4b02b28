//! Bells of a space: which thread has which.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{BELL_TABLE, Lives};
use crate::layout::bell::{BELLS, BellWords};
use crate::life::Life;
use crate::{Error, Result};

/// Bells that the table grows by.
const CHUNK: usize = 64;

impl Lives {
    /// The number of the calling thread's bell, which it keeps until it ends.
    pub fn my_bell(&self) -> Result<usize> {
        let me = self.me()?.thread;
        loop {
            let known = (self.words.bells.load(Acquire) as usize).min(BELLS);
            let bells = &self.bells[..known];
            if let Some(mine) = bells.iter().position(|bell| bell.owner.load(Relaxed) == me.0) {
                return Ok(mine);
            }
            let claimed = bells.iter().position(|bell| {
                let owner = bell.owner.load(Acquire);
                (owner == 0 || !self.alive(Life(owner)))
                    && bell.owner.compare_exchange(owner, me.0, AcqRel, Relaxed).is_ok()
            });
            if let Some(index) = claimed {
                return Ok(index);
            }
            if known == BELLS {
                return Err(Error::too_many_lives(&self.what, "bell", BELLS as u32));
            }
            self.add_bells(known)?;
        }
    }

    /// The words of a bell that somebody owns, or owned until its end.
    #[must_use]
    pub fn bell(&self, number: usize) -> Option<&BellWords> {
        let known = self.words.bells.load(Acquire) as usize;
        let bell = if number < known { self.bells.get(number) } else { None };
        bell.filter(|bell| bell.owner.load(Relaxed) != 0)
    }

    /// Reserves more bells, if nobody else has. Zeroed bytes are bells of nobody's.
    fn add_bells(&self, known: usize) -> Result<()> {
        self.grow(|file| {
            if self.words.bells.load(Acquire) as usize == known {
                let (first, bytes) = (BELL_TABLE + known * size_of::<BellWords>(), CHUNK * size_of::<BellWords>());
                crate::space::reserve(file, first as u64, bytes as u64, &self.what)?;
                self.words.bells.store((known + CHUNK) as u32, Release);
            }
            Ok(())
        })
    }
}
