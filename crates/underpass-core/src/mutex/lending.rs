//! A mutex whose owner has the priority of the most urgent of those who wait for it.
//!
//! Follows Linux's PI futexes (`kernel/futex/pi.c`), which know an owner by its thread id; the life beside it says who that
//! is, as in all other words of the library. Who waits does so in the kernel, which alone can lend a priority; the kernel
//! hands the mutex over, to the most urgent by the scheduler's measure and among equals to who came first.
//!
//! Invariant: nobody writes a thread id into the lower half but its own thread, while that half is 0, and the kernel. Who
//! finds itself there and somebody else's life beside it has outlived an owner. The id of a life that has ended is taken
//! out before anybody sleeps for it: so nobody lends to a stranger who was given the same id.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::mutex::{DIED, MutexWords, OWNER_DEAD, TID, WAITERS};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::Mutex;
use crate::error::Phase;
use crate::kernel::{Kernel, Lent, Locked, Owed, Purpose, Watch};
use crate::lock::TWICE;
use crate::planted::{Fault, planted};
use crate::{Deadline, Error, Result};

/// What is said to a thread that would wait for others that wait for it.
const CYCLE: &str = "its owner waits, itself or through others, for a mutex that this thread holds, and would wait for ever: \
                     acquire them in the same order everywhere";
const FOREIGN: &str = "it is used in another pid namespace, where thread ids mean other threads, and the kernel lends priorities \
                       by thread id: use it in one namespace, or make it without inherit_priority";
const UNKNOWN: &str = "this process cannot tell its pid namespace (/proc/self/ns/pid), which the kernel's priority inheritance \
                       depends on: mount /proc, or make it without inherit_priority";
const FORGED: &str = "it names an owner to whom no process may lend its priority";

/// Both halves of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Halves {
    /// The upper one: a life, and whether somebody looks on.
    owner: u32,
    /// The lower one, which is the kernel's.
    lower: u32,
}

impl Halves {
    fn of(word: u64) -> Self {
        Self { owner: (word >> 32) as u32, lower: word as u32 }
    }

    fn word(self) -> u64 {
        u64::from(self.owner) << 32 | u64::from(self.lower)
    }

    fn held_by(me: Me) -> Self {
        Self { owner: me.thread.0, lower: me.tid }
    }

    fn life(self) -> Life {
        Life(self.owner & !SLEEPERS)
    }

    fn is_watched(self) -> bool {
        self.owner & SLEEPERS != 0
    }

    /// Nobody is in the lower half, or about to be.
    fn is_vacant(self) -> bool {
        self.lower & TID == 0
    }
}

/// The thread in the word: a peek, not a promise.
pub(super) fn owner(words: &MutexWords) -> Life {
    Halves::of(words.lent.load(Acquire)).life()
}

/// Somebody waits, or may.
pub(super) fn has_sleepers(words: &MutexWords) -> bool {
    let now = Halves::of(words.lent.load(Relaxed));
    now.is_watched() || now.lower & WAITERS != 0
}

/// Takes it if it is free.
#[inline]
pub(super) fn try_take(words: &MutexWords, me: Me) -> bool {
    let at_home = me.namespace != 0 && words.namespace.load(Relaxed) == me.namespace;
    at_home && words.lent.compare_exchange(0, Halves::held_by(me).word(), Acquire, Relaxed).is_ok()
}

/// The owner gives it back if nobody waits.
#[inline]
pub(super) fn try_give(words: &MutexWords, me: Me) -> bool {
    words.lent.compare_exchange(Halves::held_by(me).word(), 0, Release, Relaxed).is_ok()
}

/// Waits for it, and lends the caller's priority to its owner meanwhile; true if it was taken from the dead.
#[cold]
pub(super) fn take(mutex: &Mutex, kernel: &dyn Kernel, deadline: Deadline, me: Me, recovers: bool) -> Result<bool> {
    let line = Line { mutex, words: &mutex.words, kernel, me };
    line.settle()?;
    // While the kernel may write this thread into the word and its life is not beside it.
    let _owed = (!planted(Fault::UnnamedHeir)).then(|| Owed::name_lent(kernel, line.words));
    let mut watch = Watch::new();
    watch.purpose = Some(Purpose::new(Operation::Acquire));
    let until = if deadline == Deadline::NoWait { Some(0) } else { deadline.time() };
    let late = || if deadline == Deadline::NoWait { Error::WouldBlock } else { Error::TimedOut(Phase::Wait) };
    let mut expired = until.is_some_and(|time| kernel.now() >= time);
    loop {
        let now = line.look();
        let owner = now.life();
        if owner == me.thread {
            return Err(Error::Misuse(TWICE.into()));
        }
        let ended = owner.0 != OWNER_DEAD && owner != Life::NOBODY && !kernel.alive(owner);
        if ended {
            line.bury(owner);
            continue;
        }
        if owner.0 == OWNER_DEAD && !recovers {
            return Err(Error::OwnerDied(mutex.last_death()));
        }
        if now.lower == 0 && (owner == Life::NOBODY || owner.0 == OWNER_DEAD) {
            if line.change(now, Halves::held_by(me)) {
                return Ok(owner != Life::NOBODY);
            }
            continue;
        }
        // Whoever was taken out has left it to the kernel, which gives it to those that sleep there, or to who asks.
        let is_left = now.is_vacant() && (owner == Life::NOBODY || owner.0 == OWNER_DEAD);
        if expired && !is_left {
            return Err(late());
        }
        if now.lower & WAITERS == 0 {
            line.words.since.store(kernel.now(), Relaxed);
        }
        watch.clear();
        watch.life(if owner.0 == OWNER_DEAD { Life::NOBODY } else { owner });
        match kernel.lock_pi(line.lent(), &mut watch, until)? {
            Locked::Mine => return line.come(recovers),
            Locked::Look => {}
            Locked::Expired if is_left => return Err(late()),
            Locked::Expired => expired = true,
            Locked::Cycle => return Err(Error::Misuse(CYCLE.into())),
            Locked::Forged => return Err(Error::Corrupted(FORGED.into())),
            Locked::Interrupted => return Err(Error::Interrupted),
        }
    }
}

/// The owner gives it to whoever is next, or leaves something else in its place.
#[cold]
pub(super) fn give(mutex: &Mutex, kernel: &dyn Kernel, me: Me, left: Life) -> Result<()> {
    let line = Line { mutex, words: &mutex.words, kernel, me };
    let _owed = Owed::name_lent(kernel, line.words);
    line.leave(left)
}

/// An acquire would not wait. With a watch list a caller that finds it would is announced.
pub(super) fn is_ready<'a>(mutex: &'a Mutex, kernel: &dyn Kernel, mut watch: Option<&mut Watch<'a>>) -> Result<bool> {
    let words: &'a MutexWords = &mutex.words;
    let line = Line { mutex, words, kernel, me: kernel.me()? };
    line.settle()?;
    loop {
        // SYNC(mutex-4): the turn first, then the look: pairs with `tell`.
        let turn = words.turn.load(Acquire);
        let now = line.look();
        let owner = now.life();
        let is_held = owner != Life::NOBODY && owner.0 != OWNER_DEAD;
        if is_held && (owner == line.me.thread || !kernel.alive(owner)) || owner.0 == OWNER_DEAD {
            return Ok(true);
        }
        if !is_held && now.is_vacant() {
            return Ok(true);
        }
        let Some(watch) = watch.as_deref_mut() else { return Ok(false) };
        let watched = Halves { owner: now.owner | SLEEPERS, ..now };
        if words.lent.compare_exchange(now.word(), watched.word(), AcqRel, Relaxed).is_ok() {
            watch.word(&words.turn, turn);
            watch.life(owner);
            // One that it was handed to and has not come is known by its thread id alone.
            watch.unheard |= !is_held;
            return Ok(false);
        }
    }
}

/// A mutex, as one thread sees it.
struct Line<'a> {
    mutex: &'a Mutex,
    words: &'a MutexWords,
    kernel: &'a dyn Kernel,
    me: Me,
}

impl<'a> Line<'a> {
    fn lent(&self) -> Lent<'a> {
        Lent { word: &self.words.lent, turn: &self.words.turn, tid: self.me.tid }
    }

    fn look(&self) -> Halves {
        Halves::of(self.words.lent.load(Acquire))
    }

    /// Refuses a process in whose pid namespace the ids in the word mean others. Who uses it first says which it is.
    fn settle(&self) -> Result<()> {
        let mine = self.me.namespace;
        if mine == 0 {
            return Err(Error::Misuse(UNKNOWN.into()));
        }
        match self.words.namespace.compare_exchange(0, mine, Relaxed, Relaxed) {
            Err(other) if other != mine => Err(Error::Misuse(FOREIGN.into())),
            _ => Ok(()),
        }
    }

    /// Exchanges both halves, and tells those who look on that the owner is another; false: it was not `before`.
    fn change(&self, before: Halves, after: Halves) -> bool {
        let done = self.words.lent.compare_exchange(before.word(), after.word(), AcqRel, Acquire).is_ok();
        if done && before.is_watched() {
            self.tell();
        }
        done
    }

    /// Wakes those who look on. They watch the life that was in the word, and look for themselves when that ends.
    fn tell(&self) {
        // SYNC(mutex-4): pairs with `is_ready`: one that came before the change and has not fallen asleep will not.
        self.words.turn.fetch_add(1, AcqRel);
        self.kernel.wake(&self.words.turn, u32::MAX);
    }

    /// The kernel has written this thread into the lower half: it comes for what it was handed.
    fn come(&self, recovers: bool) -> Result<bool> {
        loop {
            let now = self.look();
            let owner = now.life();
            let inherited = owner != Life::NOBODY;
            if inherited && owner.0 != OWNER_DEAD {
                // The kernel hands on what was not given back for one reason alone.
                self.mutex.note(self.kernel, owner);
            }
            if inherited && !recovers {
                self.leave(Life(OWNER_DEAD))?;
                return Err(Error::OwnerDied(self.mutex.last_death()));
            }
            if self.change(now, Halves { owner: self.me.thread.0, lower: now.lower & !DIED }) {
                return Ok(inherited);
            }
        }
    }

    /// Leaves that in place of the owner, and the lower half to whoever is next in the kernel.
    fn leave(&self, left: Life) -> Result<()> {
        loop {
            let now = self.look();
            let waits = now.lower & WAITERS != 0;
            let lower = if waits { now.lower & !DIED } else { 0 };
            let after = Halves { owner: left.0, lower };
            if self.words.lent.compare_exchange(now.word(), after.word(), AcqRel, Acquire).is_err() {
                continue;
            }
            let handed = if waits { self.kernel.unlock_pi(self.lent()) } else { Ok(()) };
            if now.is_watched() && !planted(Fault::UntoldOnlooker) {
                self.tell();
            }
            return handed;
        }
    }

    /// Turns an owner that has ended into [`OWNER_DEAD`], and takes its thread id out: by the word of the table of lives, as
    /// the kernel does it for a futex in a robust list.
    fn bury(&self, dead: Life) {
        self.mutex.note(self.kernel, dead);
        loop {
            let now = self.look();
            if now.life() != dead {
                return;
            }
            let lower = match now.lower {
                // The kernel was here first: it has written who is next, or that nobody is.
                lower if lower & DIED != 0 && !now.is_vacant() => lower,
                // Those who wait in the kernel are handed it by the kernel, which looks at nothing but these bits.
                lower if lower & WAITERS != 0 => WAITERS | DIED,
                _ => 0,
            };
            // SYNC(mutex-1): whoever sees OWNER_DEAD sees who died.
            if self.change(now, Halves { owner: OWNER_DEAD, lower }) {
                return;
            }
        }
    }
}
