//! Where the server looks: a bit for each seat, so that a thousand idle clients cost nothing.
//!
//! Twice Dekker's handshake. The client posts and then looks at its bit, the server clears the bit and then looks at the
//! posts; the client posts and then looks at its standing, the server gives it a seat, or ends it, and then looks at the
//! posts. Each has a full fence in between, so at least one sees the other.
//!
//! Invariant: a channel whose bit is 0 has nothing posted, or its client is about to set the bit, or the server is about
//! to look.

use underpass_shm::layout::port::{ACTIVE_WORDS, PortWords, WORD_BITS};
use underpass_shm::sync::{
    AtomicU64,
    Ordering::{AcqRel, Relaxed, SeqCst},
    fence,
};

/// Seats that differ by this share a bit.
pub const BITS: u32 = ACTIVE_WORDS as u32 * WORD_BITS;

fn place(words: &PortWords, seat: u32) -> (&AtomicU64, u64) {
    let bit = seat % BITS;
    (&words.active.words[(bit / WORD_BITS) as usize], 1 << (bit % WORD_BITS))
}

/// Has the server look at the channel of that seat. By the client after a post and a full fence; by the server itself.
#[inline]
pub fn show(words: &PortWords, seat: u32) {
    let (word, bit) = place(words, seat);
    // SYNC(port-4): pairs with `hide`; the fence is the caller's.
    if word.load(Relaxed) & bit == 0 {
        show_slow(word, bit);
    }
}

#[cold]
fn show_slow(word: &AtomicU64, bit: u64) {
    word.fetch_or(bit, AcqRel);
    // SYNC(port-1): the doorbell is looked at after the bit was set.
    fence(SeqCst);
}

/// Looks there no more. The caller looks at the posts once more after this.
pub fn hide(words: &PortWords, seat: u32) {
    let (word, bit) = place(words, seat);
    word.fetch_and(!bit, SeqCst);
    // SYNC(port-4): pairs with `show`.
    fence(SeqCst);
}

/// The bits of one word that are set.
#[inline]
pub fn bits(words: &PortWords, word: usize) -> u64 {
    words.active.words[word].load(Relaxed)
}
