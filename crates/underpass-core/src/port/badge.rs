//! Badges: what a server knows a gate by, whoever holds it (seL4's badged endpoint capabilities).
//!
//! A badge is a number with a generation and a proof: a hash of both under a key that only the port's process has. So a
//! gate that was handed over says which badge it has, nobody can make one up, and the server remembers nothing of it but
//! which ones it has revoked.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// What a gate says of itself when it is introduced. The default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Badge {
    /// The number that the server gave it; 0: none.
    pub number: u64,
    /// How often that number had been revoked.
    pub generation: u32,
    /// That the server gave it.
    pub proof: u64,
}

impl Badge {
    /// Bytes of a badge on its way.
    pub const SIZE: usize = 20;

    /// As it travels to the server.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.proof.to_le_bytes());
        bytes[16..].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    /// As it arrives there.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let generation = u32::from_le_bytes(std::array::from_fn(|index| bytes[16 + index]));
        Self { number: word(0), generation, proof: word(8) }
    }
}

/// Makes and knows the badges of one port.
#[derive(Debug, Default)]
pub struct Mint {
    /// SipHash with 128 random bits of the system.
    key: RandomState,
    /// How often each number was revoked; those that never were are not here.
    revocations: Mutex<HashMap<u64, u32>>,
}

impl Mint {
    /// A badge of that number, of its current generation.
    pub fn mint(&self, number: u64) -> Badge {
        let generation = self.generation(number);
        Badge { number, generation, proof: self.proof(number, generation) }
    }

    /// This mint made it.
    pub fn made(&self, badge: Badge) -> bool {
        badge.proof == self.proof(badge.number, badge.generation)
    }

    /// It was revoked since.
    pub fn is_revoked(&self, badge: Badge) -> bool {
        badge.generation != self.generation(badge.number)
    }

    /// Ends all badges of that number; those minted from now on are new ones.
    pub fn revoke(&self, number: u64) {
        *self.revocations.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default() += 1;
    }

    fn generation(&self, number: u64) -> u32 {
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied().unwrap_or(0)
    }

    fn proof(&self, number: u64, generation: u32) -> u64 {
        if number == 0 { 0 } else { self.key.hash_one((number, generation)) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Badge, Mint};

    #[test]
    fn test_badge_of_another_mint_number_or_generation_is_not_ours() {
        let (mint, other) = (Mint::default(), Mint::default());
        let badge = mint.mint(7);
        assert!(mint.made(badge) && mint.made(Badge::default()));
        assert!(!other.made(badge));
        assert!(!mint.made(Badge { number: 8, ..badge }));
        assert!(!mint.made(Badge { generation: 1, ..badge }));
        assert!(!mint.made(Badge { number: 7, ..Badge::default() }));
    }

    #[test]
    fn test_revoked_badge_stays_revoked_and_its_number_can_be_minted_again() {
        let mint = Mint::default();
        let (old, other) = (mint.mint(7), mint.mint(8));
        mint.revoke(7);
        let new = mint.mint(7);
        assert_eq!([old, new, other].map(|badge| mint.is_revoked(badge)), [true, false, false]);
        assert!(mint.made(old) && mint.made(new));
    }

    #[test]
    fn test_badge_arrives_as_it_was_sent() {
        let badge = Badge { number: u64::MAX - 1, generation: 3, proof: 1 << 63 | 5 };
        assert_eq!(Badge::from_bytes(badge.to_bytes()), badge);
    }
}
