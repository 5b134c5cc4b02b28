//! The random walk: each option is as likely as any other.

use crate::choice::Crossing;
use crate::record::Record;
use crate::strategy::Strategy;

/// A small generator of random numbers, the same everywhere: Steele's SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, each as likely as any other.
    pub fn below(&mut self, limit: usize) -> usize {
        // Lemire's way: the high half of a product; what it favours is below 2**-32 for the limits here.
        ((u128::from(self.roll()) * limit as u128) >> 64) as usize
    }
}

/// The random walk.
#[derive(Debug)]
pub struct Walk {
    dice: Dice,
}

impl Walk {
    /// The schedules of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed) }
    }
}

impl Strategy for Walk {
    fn begin(&mut self) -> bool {
        true
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        Some(self.dice.below(crossing.options.len()))
    }

    fn end(&mut self, _record: &Record) {}
}
