//! What a sleeping thread waits for, written into its entry of the table of lives: so that others can read who waits for
//! whom without stopping anybody.
//!
//! One writer, the thread itself, just before it sleeps and right after; a sequence count tells readers of a write that
//! was under way (Lamport, "Concurrent reading and writing", 1977). What the dead left is never read: who reads asks for
//! the life as well, and who claims the entry clears it first.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use crate::header::Kind;
use crate::life::Life;
use crate::operation::Operation;

/// Lives a record has room for; of more that must act, these are the first.
pub const AWAITED: usize = 12;
/// How often a reader tries again while the thread writes.
const TRIES: u32 = 64;
const KIND_SHIFT: u32 = 16;
const WORD: usize = size_of::<u32>();

/// The record in a thread's entry.
///
/// ```text
/// sequence   even: complete    odd: the thread is writing (or has died in it, and then nobody asks)
/// purpose    0: it does not wait    operation | kind of the object << 16
/// object     its nonce              of a wait for a name (`Open`): the name's length
/// lives      who must act           of a wait for a name: its bytes, as many as there is room for
///                                   of a wait for many: how many objects they are, in the first
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct WaitWords {
    sequence: AtomicU32,
    purpose: AtomicU32,
    object: AtomicU64,
    since: AtomicU64,
    lives: [AtomicU32; AWAITED],
}

/// What a thread waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The nonce of the object.
    pub object: u64,
    /// What the object is.
    pub kind: Kind,
    /// What it does there.
    pub operation: Operation,
    /// When it began, on the monotonic clock.
    pub since: u64,
    /// Who must act, as far as it watches them; the first few.
    pub lives: Vec<Life>,
    /// For how many objects: of more than one `object` is the first.
    pub members: u32,
    /// Of a wait for a name, which has no object: the name, or its first 48 characters.
    pub name: Option<String>,
}

impl Operation {
    /// The verb, as objects of that kind call it.
    #[must_use]
    pub fn verb(self, kind: Kind) -> &'static str {
        // Who would run a once acquires the mutex inside.
        if (kind, self) == (Kind::Once, Self::Acquire) { "call" } else { self.name() }
    }
}

impl WaitWords {
    /// Says what the calling thread, whose entry this is, is about to sleep for.
    pub fn begin(&self, object: u64, kind: Kind, operation: Operation, since: u64, lives: &[Life]) {
        self.begin_beside(object, kind, operation, since, lives, || ());
    }

    /// The same, with what `beside` stores: who reads it by [`Self::read_beside`] reads it whole.
    pub(crate) fn begin_beside(
        &self,
        object: u64,
        kind: Kind,
        operation: Operation,
        since: u64,
        lives: &[Life],
        beside: impl FnOnce(),
    ) {
        self.write(|| {
            beside();
            self.object.store(object, Relaxed);
            self.since.store(since, Relaxed);
            let nobody = std::iter::repeat(&Life::NOBODY);
            for (word, life) in self.lives.iter().zip(lives.iter().chain(nobody)) {
                word.store(life.0, Relaxed);
            }
            self.purpose.store(operation as u32 | (kind as u32) << KIND_SHIFT, Relaxed);
        });
    }

    /// Says that it is about to sleep until an object of that kind and name appears.
    pub fn begin_name(&self, kind: Kind, name: &str, since: u64) {
        self.write(|| {
            self.object.store(name.len() as u64, Relaxed);
            self.since.store(since, Relaxed);
            let mut bytes = name.bytes();
            for word in &self.lives {
                let next: [u8; WORD] = std::array::from_fn(|_| bytes.next().unwrap_or(0));
                word.store(u32::from_ne_bytes(next), Relaxed);
            }
            self.purpose.store(Operation::Open as u32 | (kind as u32) << KIND_SHIFT, Relaxed);
        });
    }

    /// Says that it does not wait.
    pub fn end(&self) {
        self.write(|| self.purpose.store(0, Relaxed));
    }

    fn write(&self, store: impl FnOnce()) {
        // The last owner of the entry may have died while it was writing.
        let sequence = self.sequence.load(Relaxed) | 1;
        self.sequence.store(sequence, Relaxed);
        // SYNC(waits-1): pairs with `read`.
        fence(Release);
        store();
        self.sequence.store(sequence.wrapping_add(1), Release);
    }

    /// What the thread waits for; none if it does not, or never stops changing it.
    pub fn read(&self) -> Option<Wait> {
        self.read_beside(|| ()).map(|(wait, ())| wait)
    }

    /// The same, with what `beside` loads.
    pub(crate) fn read_beside<T>(&self, beside: impl Fn() -> T) -> Option<(Wait, T)> {
        let (words, other) = self.read_words(beside)?;
        Some((Wait::of(words)?, other))
    }

    /// The words of one write.
    fn read_words<T>(&self, beside: impl Fn() -> T) -> Option<(Words, T)> {
        (0..TRIES).find_map(|_| {
            let before = self.sequence.load(Acquire);
            let (purpose, object, since) =
                (self.purpose.load(Relaxed), self.object.load(Relaxed), self.since.load(Relaxed));
            let lives: [u32; AWAITED] = std::array::from_fn(|index| self.lives[index].load(Relaxed));
            let other = beside();
            // SYNC(waits-1): pairs with `write`.
            fence(Acquire);
            let whole = before & 1 == 0 && self.sequence.load(Relaxed) == before;
            whole.then_some(((purpose, object, since, lives), other))
        })
    }

    /// Nobody waits by this record, for whoever finds it so: the one act that needs no turn at writing.
    pub(crate) fn clear(&self) {
        self.purpose.store(0, Release);
    }

    /// Which write it is: the next one has another.
    pub(crate) fn write_number(&self) -> u32 {
        self.sequence.load(Acquire)
    }

    /// The nonce of the object that the thread waits for, without the rest: a peek.
    pub fn object(&self) -> Option<u64> {
        (self.purpose.load(Acquire) != 0).then(|| self.object.load(Relaxed))
    }
}

/// What a record holds beside its sequence: purpose, object, since, lives.
type Words = (u32, u64, u64, [u32; AWAITED]);

impl Wait {
    /// What the words say, if they say anything.
    fn of((purpose, object, since, lives): Words) -> Option<Self> {
        let kind = Kind::from_number(purpose >> KIND_SHIFT)?;
        let operation = Operation::from_number(purpose & ((1 << KIND_SHIFT) - 1))?;
        let wait = Self { object, kind, operation, since, lives: Vec::new(), members: 1, name: None };
        if operation == Operation::Open {
            return Some(Self { object: 0, name: Some(name_of(&lives, object)?), ..wait });
        }
        if operation.is_of_many() {
            return Some(Self { members: lives[0], ..wait });
        }
        Some(Self { lives: lives.into_iter().take_while(|life| *life != 0).map(Life).collect(), ..wait })
    }
}

/// The name that the words hold, or its beginning; none if they hold no text.
fn name_of(words: &[u32; AWAITED], length: u64) -> Option<String> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match bytes.get(..usize::try_from(length).ok()?) {
        Some(whole) => Some(str::from_utf8(whole).ok()?.into()),
        None => Some(format!("{}…", str::from_utf8(&bytes).ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn blank() -> WaitWords {
        WaitWords {
            sequence: AtomicU32::new(0),
            purpose: AtomicU32::new(0),
            object: AtomicU64::new(0),
            since: AtomicU64::new(0),
            lives: Default::default(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let words = blank();
        assert_eq!(words.read(), None);
        words.begin(7, Kind::Queue, Operation::Get, 99, &[Life(3), Life(4)]);
        let wait = words.read().expect("it waits");
        assert_eq!((wait.object, wait.kind, wait.operation, wait.since), (7, Kind::Queue, Operation::Get, 99));
        assert_eq!(wait.lives, [Life(3), Life(4)]);
        words.end();
        assert_eq!(words.read(), None);
    }

    #[test]
    fn a_name_is_written_and_read_and_a_long_one_is_cut() {
        let words = blank();
        for length in [1, 3, 4, 47, 48, 49, 200] {
            let name: String = ('a'..='z').cycle().take(length).collect();
            words.begin_name(Kind::Event, &name, 7);
            let wait = words.read().expect("it waits");
            assert_eq!((wait.kind, wait.operation, wait.since), (Kind::Event, Operation::Open, 7));
            assert!(wait.lives.is_empty());
            let told = if length > 48 { format!("{}…", &name[..48]) } else { name };
            assert_eq!(wait.name, Some(told));
        }
        words.begin(7, Kind::Port, Operation::Call, 1, &[Life(1)]);
        assert_eq!(words.read().expect("it waits").name, None);
    }

    #[test]
    fn of_too_many_lives_the_first_are_kept() {
        let words = blank();
        let lives: Vec<Life> = (1..=40).map(Life).collect();
        words.begin(7, Kind::Port, Operation::Call, 1, &lives);
        assert_eq!(words.read().expect("it waits").lives, lives[..AWAITED]);
    }

    #[test]
    fn a_write_that_a_death_cut_off_is_no_record_and_hinders_nobody_after_it() {
        let words = blank();
        words.begin(7, Kind::Port, Operation::Call, 1, &[]);
        words.sequence.fetch_add(1, Relaxed);
        words.object.store(8, Relaxed);
        assert_eq!(words.read(), None);
        words.end();
        words.begin(9, Kind::Queue, Operation::Put, 2, &[]);
        assert_eq!(words.read().expect("it waits").object, 9);
    }

    #[test]
    fn readers_see_one_record_whole() {
        let (words, done) = (blank(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..200_000_u64 {
                    let lives = [Life(u32::try_from(turn).unwrap_or(1)); AWAITED];
                    words.begin(turn, Kind::Queue, Operation::Get, turn, &lives);
                    if turn % 3 == 0 {
                        words.end();
                    }
                }
                done.store(true, Release);
            });
            while !done.load(Acquire) {
                if let Some(wait) = words.read() {
                    assert_eq!(wait.object, wait.since);
                    assert!(wait.lives.iter().all(|life| u64::from(life.0) == wait.object), "{wait:?}");
                }
            }
        });
    }
}
