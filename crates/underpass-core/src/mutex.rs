//! A mutex: a robust lock of a thread, recursive if asked for.
//!
//! Follows POSIX's robust mutexes in what a death means (`EOWNERDEAD`, `pthread_mutex_consistent`) and Zephyr's `k_mutex`
//! in recursion; the word is that of [`crate::lock`].
//!
//! Invariant: once an owner has died, nobody holds it but inside a block of recovery, until one such block ends well.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::mutex::{MutexWords, OWNER_DEAD, RECOVERING};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Relaxed};

use crate::kernel::{Kernel, Watch};
use crate::lock::{Lock, Rules};
use crate::many::Ready;
use crate::wait::{Patience, Sleepers};
use crate::{Deadline, Error, Result};

const MOST_DEPTH: u32 = RECOVERING - 1;

/// A handle of a mutex.
#[derive(Debug)]
pub struct Mutex {
    words: Placed<MutexWords>,
    recursive: bool,
    patience: Patience,
}

/// An owner that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Its thread, of which the table of lives may know nothing any more.
    pub thread: Life,
    /// The pid of its process, as its own namespace counted; 0: not known.
    pub pid: u32,
    /// How long it had held the mutex, in nanoseconds: at least that, if it is known.
    pub held: Option<u64>,
}

/// Who holds it, for people to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The thread; of the dead, who it was.
    pub thread: Life,
    /// The pid of its process, as its own namespace counted; 0: not known.
    pub pid: u32,
    /// How long it has held it, or had when it died, in nanoseconds: at least that, if it is known.
    pub held: Option<u64>,
    /// It has died.
    pub dead: bool,
}

impl Mutex {
    /// A handle over words that were zeroed.
    #[must_use]
    pub fn new(words: Placed<MutexWords>, recursive: bool) -> Self {
        Self { words, recursive, patience: Patience::new() }
    }

    /// Takes it, waiting for it.
    #[inline]
    pub fn acquire(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let me = kernel.me()?;
        if self.lock().try_take(me) { Ok(()) } else { self.acquire_slow(kernel, deadline, me) }
    }

    #[cold]
    fn acquire_slow(&self, kernel: &dyn Kernel, deadline: Deadline, me: Me) -> Result<()> {
        if self.recursive && self.lock().owner() == me.thread {
            return self.deepen();
        }
        self.take(kernel, deadline, me, false).map(drop)
    }

    /// Takes it, also from the dead: then what it protects has to be repaired before [`Self::end_recovery`].
    pub fn recover(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Option<Death>> {
        let me = kernel.me()?;
        if self.lock().try_take(me) {
            return Ok(None);
        }
        if self.recursive && self.lock().owner() == me.thread {
            return self.deepen().map(|()| None);
        }
        let inherited = self.take(kernel, deadline, me, true)?;
        Ok(inherited.then(|| self.last_death()))
    }

    fn take(&self, kernel: &dyn Kernel, deadline: Deadline, me: Me, recovers: bool) -> Result<bool> {
        let claim = Claim { mutex: self, kernel, recovers };
        let inherited = self.lock().take(kernel, deadline, &self.patience, me, &claim)?;
        self.words.inside.store(if inherited { RECOVERING } else { 0 }, Relaxed);
        if self.has_sleepers() {
            self.words.since.store(kernel.now(), Relaxed);
        }
        Ok(inherited)
    }

    fn deepen(&self) -> Result<()> {
        let inside = self.words.inside.load(Relaxed);
        if inside & MOST_DEPTH == MOST_DEPTH {
            return Err(Error::Misuse(format!("this thread holds it {MOST_DEPTH} times already: release it")));
        }
        self.words.inside.store(inside + 1, Relaxed);
        Ok(())
    }

    /// Gives it back, or one level of it.
    #[inline]
    pub fn release(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        // What is inside belongs to the owner: for others the exchange fails.
        if self.words.inside.load(Relaxed) == 0 && self.lock().try_give(me) {
            return Ok(());
        }
        self.release_slow(kernel, me)
    }

    #[cold]
    fn release_slow(&self, kernel: &dyn Kernel, me: Me) -> Result<()> {
        let inside = self.inside(me)?;
        if inside == RECOVERING {
            return Err(Error::Misuse(
                "its last owner died, and this thread's recovering() block has not ended: leave the block instead"
                    .into(),
            ));
        }
        if inside > 0 {
            self.words.inside.store(inside - 1, Relaxed);
        } else {
            self.give(kernel, Life::NOBODY);
        }
        Ok(())
    }

    /// Ends what [`Self::recover`] began. Of a mutex taken from the dead: `repaired` frees it, otherwise it is the dead
    /// one's again.
    pub fn end_recovery(&self, kernel: &dyn Kernel, repaired: bool) -> Result<()> {
        let me = kernel.me()?;
        if self.inside(me)? != RECOVERING {
            return self.release(kernel);
        }
        self.words.inside.store(0, Relaxed);
        self.give(kernel, if repaired { Life::NOBODY } else { Life(OWNER_DEAD) });
        Ok(())
    }

    /// What the owner has written for itself; an error for anybody else.
    fn inside(&self, me: Me) -> Result<u32> {
        if self.lock().owner() == me.thread { Ok(self.words.inside.load(Relaxed)) } else { Err(Error::NotOwner) }
    }

    fn give(&self, kernel: &dyn Kernel, left: Life) {
        self.words.since.store(0, Relaxed);
        self.lock().give(kernel, left);
    }

    fn lock(&self) -> Lock<'_> {
        Lock(&self.words.lock, self)
    }

    /// Turns a dead owner into [`OWNER_DEAD`], so that it stays known when its place among the lives is used again.
    fn bury(&self, kernel: &dyn Kernel, dead: Life) {
        let words = &*self.words;
        let before = words.died.load(Relaxed);
        if before >> 32 != u64::from(dead.0) {
            words.held.store(self.held(kernel).unwrap_or(0), Relaxed);
            let obituary = u64::from(dead.0) << 32 | u64::from(kernel.pid(dead));
            let _ = words.died.compare_exchange(before, obituary, Relaxed, Relaxed);
        }
        for word in [dead.0, dead.0 | SLEEPERS] {
            // SYNC(mutex-1): whoever sees OWNER_DEAD sees who died.
            let _ = words.lock.word.compare_exchange(word, OWNER_DEAD | word & SLEEPERS, AcqRel, Relaxed);
        }
    }

    /// The last owner that died, as whoever found it wrote it down.
    fn last_death(&self) -> Death {
        let held = self.words.held.load(Relaxed);
        let died = self.words.died.load(Relaxed);
        Death { thread: Life((died >> 32) as u32), pid: died as u32, held: (held != 0).then_some(held) }
    }

    /// How long the one in the word has held it, as far as sleepers saw.
    fn held(&self, kernel: &dyn Kernel) -> Option<u64> {
        let since = self.words.since.load(Relaxed);
        (self.has_sleepers() && since != 0).then(|| kernel.now().saturating_sub(since))
    }

    /// Who holds it, or held it when it died: a peek, not a promise.
    #[must_use]
    pub fn holder(&self, kernel: &dyn Kernel) -> Option<Holder> {
        // SYNC(mutex-1): pairs with bury().
        let thread = self.lock().owner();
        if thread == Life::NOBODY {
            return None;
        }
        if thread.0 == OWNER_DEAD {
            let Death { thread, pid, held } = self.last_death();
            return Some(Holder { thread, pid, held, dead: true });
        }
        let (pid, held) = (kernel.pid(thread), self.held(kernel));
        Some(Holder { thread, pid, held, dead: !kernel.alive(thread) })
    }

    /// Has the next wait spin for as long as any may, whether or not that paid before: what is held for less time than a
    /// sleep takes.
    pub fn spin_anew(&self) {
        self.patience.renew();
    }

    /// True when somebody may be asleep.
    #[must_use]
    pub fn has_sleepers(&self) -> bool {
        self.words.lock.word.load(Relaxed) & SLEEPERS != 0
    }

    /// Levels at which the caller holds it; 0 if it does not.
    pub fn depth(&self, kernel: &dyn Kernel) -> Result<u32> {
        let inside = self.inside(kernel.me()?);
        Ok(inside.map_or(0, |inside| (inside & MOST_DEPTH) + 1))
    }
}

impl Ready for Mutex {
    fn sleepers(&self) -> &dyn Sleepers {
        self
    }

    /// An acquire would take it, or say at once why not: its owner has died, or is the caller.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let claim = Claim { mutex: self, kernel, recovers: false };
        Ok(self.lock().is_free(kernel, kernel.me()?, &claim, watch))
    }
}

impl Sleepers for Mutex {
    fn baton(&self) -> &AtomicU32 {
        &self.words.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        // Who is about to sleep has looked: there is one word, and what changed it since keeps that one awake.
        kernel.wake(&self.words.lock.word, u32::MAX);
    }
}

/// How one operation takes a mutex.
struct Claim<'a> {
    mutex: &'a Mutex,
    kernel: &'a dyn Kernel,
    /// Also from the dead.
    recovers: bool,
}

impl Rules for Claim<'_> {
    fn operation(&self) -> Operation {
        Operation::Acquire
    }

    fn inherit(&self, dead: Life) -> Result<()> {
        if dead.0 != OWNER_DEAD {
            self.mutex.bury(self.kernel, dead);
        }
        if self.recovers { Ok(()) } else { Err(Error::OwnerDied(self.mutex.last_death())) }
    }

    fn is_dead(&self, owner: Life) -> bool {
        owner.0 == OWNER_DEAD
    }

    fn announced(&self) {
        self.mutex.words.since.store(self.kernel.now(), Relaxed);
    }
}
