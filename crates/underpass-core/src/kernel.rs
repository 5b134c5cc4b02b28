//! The questions that the objects ask their world, and no others. Three worlds answer: Linux, the lab, and loom.

#[cfg(not(loom))]
use std::sync::Arc;

#[cfg(not(loom))]
use underpass_shm::header::{Header, Kind, PARAMETERS};
use underpass_shm::layout::mutex::MutexWords;
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
#[cfg(not(loom))]
use underpass_shm::region::{Extent, Region};
use underpass_shm::sync::{AtomicU32, AtomicU64, Ordering::Acquire};

use crate::Result;
use crate::many::Bell;

mod unlent;

/// Words one park can watch.
pub const WORDS: usize = 18;
/// Lives one park can watch: with the baton and all words but a port's they fit into one `futex_waitv`.
pub const LIVES: usize = 109;

/// What one who waits for many has announced at one object, and was so when it looked.
#[derive(Debug, Default)]
pub struct Announced<'a> {
    /// Words.
    pub words: Vec<(&'a AtomicU32, u32)>,
    /// One of 64 bits.
    pub wide: Option<(&'a AtomicU64, u64)>,
}

impl Announced<'_> {
    /// They still are what they were.
    fn holds(&self) -> bool {
        self.words.iter().all(|(word, expected)| word.load(Acquire) == *expected)
            && self.wide.is_none_or(|(word, expected)| word.load(Acquire) == expected)
    }
}

/// What a sleeper waits for: that one of these words changes, or one of these lives ends.
#[derive(Debug)]
pub struct Watch<'a> {
    words: [Option<(&'a AtomicU32, u32)>; WORDS],
    waited_for: usize,
    lives: [Life; LIVES],
    known: usize,
    /// Sleep only while this word has this value. Nobody wakes it: whoever changes it tells by other words, or dies and
    /// the baton tells; so this one is for those who are about to sleep.
    pub wide: Option<(&'a AtomicU64, u64)>,
    /// Sleep only while these are so, each as long as the baton beside it can tell: of objects that do not wake this sleeper.
    pub announced: Vec<Announced<'a>>,
    /// A wake may get lost on its way here or to whom this sleeper waits for: it naps.
    pub unheard: bool,
    /// How often in a row this sleeper had to nap, since nothing would have told it of somebody's end.
    pub naps: std::cell::Cell<u32>,
    /// What it is for, for those who look on.
    pub purpose: Option<Purpose>,
    /// Of one look at many, the object whose dead were seen to last, by its address; 0: none. None: it is no such look.
    seen_to: Option<usize>,
}

/// What a sleeper is about, for people: nothing depends on it.
#[derive(Debug)]
pub struct Purpose {
    /// The operation.
    pub operation: Operation,
    /// When it first slept; 0: it has not. Kept by the kernel.
    pub since: std::cell::Cell<u64>,
    /// How often it has said that it still waits.
    pub warnings: std::cell::Cell<u32>,
    /// Of a wait for many: for how many objects.
    pub members: u32,
}

impl Purpose {
    /// Of a wait that begins.
    #[must_use]
    pub fn new(operation: Operation) -> Self {
        let (since, warnings) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        Self { operation, since, warnings, members: 1 }
    }
}

impl<'a> Watch<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let naps = std::cell::Cell::new(0);
        Self {
            words: [None; WORDS],
            waited_for: 0,
            lives: [Life::NOBODY; LIVES],
            known: 0,
            wide: None,
            announced: Vec::new(),
            unheard: false,
            naps,
            purpose: None,
            seen_to: None,
        }
    }

    /// Of one look at many, which are told together of whatever changes after it: what is done for one of an object's
    /// waiters need not be done for the next.
    #[must_use]
    pub fn of_one_look() -> Self {
        Self { seen_to: Some(0), ..Self::new() }
    }

    /// In this look somebody has seen to what the dead have left at that object.
    #[must_use]
    pub fn has_seen_to<T>(&self, object: &T) -> bool {
        self.seen_to == Some(std::ptr::from_ref(object).addr())
    }

    /// From now on somebody has.
    pub fn sees_to<T>(&mut self, object: &T) {
        self.seen_to = self.seen_to.map(|_| std::ptr::from_ref(object).addr());
    }

    /// Forgets everything but what was seen to.
    pub fn clear(&mut self) {
        self.waited_for = 0;
        self.known = 0;
        self.wide = None;
        self.unheard = false;
    }

    /// Sleep only while `word` has the value `expected`.
    ///
    /// # Panics
    /// With more than [`WORDS`] words.
    pub fn word(&mut self, word: &'a AtomicU32, expected: u32) {
        let free = self.words.get_mut(self.waited_for);
        *free.expect("no object waits for more words") = Some((word, expected));
        self.waited_for += 1;
    }

    /// Sleep only while `life` goes on. Beyond [`LIVES`] the re-check of the state has to do.
    pub fn life(&mut self, life: Life) {
        if life != Life::NOBODY && self.known < LIVES && !self.lives().contains(&life) {
            self.lives[self.known] = life;
            self.known += 1;
        }
    }

    /// The words and what they must be.
    pub fn words(&self) -> impl Iterator<Item = (&'a AtomicU32, u32)> + '_ {
        self.words[..self.waited_for].iter().flatten().copied()
    }

    /// All words are what they must be.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.words().all(|(word, expected)| word.load(Acquire) == expected)
            && self.wide.is_none_or(|(word, expected)| word.load(Acquire) == expected)
            && self.announced.iter().all(Announced::holds)
    }

    /// The lives.
    #[must_use]
    pub fn lives(&self) -> &[Life] {
        &self.lives[..self.known]
    }
}

impl Default for Watch<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a park ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// Something may have changed: look again.
    Look,
    /// The baton was woken: somebody who owed a wake here has died, or passes one on that it cannot use.
    Baton,
    /// The deadline has passed.
    Expired,
    /// The interpreter's signal handlers raised.
    Interrupted,
}

/// A word that lends, as [`underpass_shm::layout::mutex::MutexWords::lent`] has it, and who asks.
#[derive(Debug, Clone, Copy)]
pub struct Lent<'a> {
    /// The lower half of it is the kernel's.
    pub word: &'a AtomicU64,
    /// Changes with its owner.
    pub turn: &'a AtomicU32,
    /// The caller's thread id.
    pub tid: u32,
}

/// How a sleep for a word that lends ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// The caller is in the lower half.
    Mine,
    /// Something may have changed: look again.
    Look,
    /// The deadline has passed.
    Expired,
    /// The interpreter's signal handlers raised.
    Interrupted,
    /// The caller would wait for itself.
    Cycle,
    /// The word names somebody who can be nobody's owner.
    Forged,
}

/// The world below the objects.
pub trait Kernel: Send + Sync + std::fmt::Debug {
    /// What time it is, in nanoseconds.
    fn now(&self) -> u64;

    /// Which life am I.
    fn me(&self) -> Result<Me>;

    /// Does that life go on.
    fn alive(&self, life: Life) -> bool;

    /// The pid behind a life, for people to read.
    fn pid(&self, life: Life) -> u32;

    /// Sleep until something that is watched changes, one of the `batons` is woken, or the time comes. Every sleep ends after a
    /// second at most, so that whoever nobody told looks for itself; it has to do for batons that one sleep has no room for.
    fn park(&self, watch: &Watch<'_>, batons: &[&AtomicU32], until: Option<u64>) -> Parked;

    /// Wake up to `count` who are parked on this word, and ring for its object; how many were parked. With 0 it only rings: nobody is
    /// parked there, by what its object says.
    fn wake(&self, word: &AtomicU32, count: u32) -> u32;

    /// My bell, which is rung for objects that I watch.
    fn bell(&self) -> Result<Bell<'_>>;

    /// If I die from now on, wake one who is parked on this word. Null ends it; the word named before is returned. One
    /// that another covers is woken at once: its sleeper looks for itself.
    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32;

    /// Sleep until I am in the lower half of that word, and lend my priority to the thread that is. As `FUTEX_LOCK_PI` does
    /// it: into a vacant half the caller is written at once; a thread that has ended is taken out, and [`DIED`] is set.
    /// The lives that are watched are those without which the word means nothing.
    ///
    /// Where nobody has a priority there is nothing to lend, and nobody is preferred: whoever looks first has it.
    fn lock_pi(&self, lent: Lent<'_>, watch: &mut Watch<'_>, until: Option<u64>) -> Result<Locked> {
        unlent::lock(self, lent, watch, until)
    }

    /// Write into the lower half of that word, where I am, who of those that sleep for it comes next, and wake that one.
    fn unlock_pi(&self, lent: Lent<'_>) -> Result<()> {
        unlent::unlock(self, lent);
        Ok(())
    }

    /// How urgent is what I wait for; higher is more urgent. Asked before a sleep, never on a fast path, and never with an object's
    /// lock: to ask may run the program's code, finalizers that use the object.
    fn priority(&self) -> i32;

    /// Which processors may I run on, a bit each: what [`Self::spin`] takes of a partner.
    fn cpus(&self) -> u64;

    /// Give me the memory of a new object, set up and, if it has a name, known by it.
    #[cfg(not(loom))]
    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory>;

    /// How long may I spin for a partner that runs on these processors, in nanoseconds: 0 when it could not run
    /// meanwhile. 0 processors: an unknown partner.
    fn spin(&self, partner: u64) -> u64;
}

/// A new object, as it is asked for.
#[cfg(not(loom))]
pub struct Wanted<'a> {
    /// Its name; none: it is anonymous.
    pub name: Option<&'a str>,
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub extent: Extent,
    /// Constructor arguments, for its header.
    pub parameters: [u64; PARAMETERS],
    /// Who may use its file; none: who may use the space.
    pub mode: Option<u32>,
    /// Sets up the zeroed bytes, before anybody sees them.
    pub format: &'a dyn Fn(&Arc<Region>) -> Result<()>,
}

/// A new object.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct Memory {
    /// Its bytes.
    pub region: Arc<Region>,
    /// What they say it is.
    pub header: Header,
    /// What its file is called.
    pub file: String,
}

/// While this lives, the caller's death wakes one sleeper of the baton.
#[derive(Debug)]
pub struct Owed<'k> {
    kernel: &'k dyn Kernel,
    before: *const AtomicU32,
    /// It was named already, by whoever called: it stays so, without an instant in between.
    again: bool,
}

impl<'k> Owed<'k> {
    /// Before the store that a wake must follow, or before a sleep that a wake may end.
    #[must_use]
    pub fn name(kernel: &'k dyn Kernel, baton: &AtomicU32) -> Self {
        Self::naming(kernel, baton)
    }

    /// Before the world may write the caller into a word that lends, until its life stands beside it, or it has left.
    #[must_use]
    pub fn name_lent(kernel: &'k dyn Kernel, words: &MutexWords) -> Self {
        Self::naming(kernel, words.named())
    }

    fn naming(kernel: &'k dyn Kernel, baton: *const AtomicU32) -> Self {
        // The thread's life is claimed before: doing so names something else for a while. One that finds no place in the
        // table says so where it asks for itself.
        let _ = kernel.me();
        let before = kernel.name_baton(baton);
        Self { kernel, before, again: std::ptr::eq(before, baton) }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if self.again {
            return;
        }
        self.kernel.name_baton(std::ptr::null());
        if !self.before.is_null() {
            self.kernel.name_baton(self.before);
        }
    }
}
