//! Lives: how the death of a process or a thread is known, by the kernel's word and nobody else's.
//!
//! A *process* holds a record lock on its byte of the space's table: fork does not inherit it, death and exec drop it,
//! and it is seen from every pid namespace. A program that closes descriptors it does not know drops it as well: it is
//! taken again as soon as somebody looks, and until then the tokens speak for the process. A *thread* locks one robust process-shared mutex of the table, its *token*,
//! at its first operation, and never unlocks it: when the thread ends, however it ends, the kernel marks the token
//! `FUTEX_OWNER_DIED` and wakes one sleeper there.
//!
//! Invariant: a life is an id (slot, generation); who claims the slot of a dead one raises the generation, then says who
//! it is (`tid`), then wakes everybody parked there. Until the token's word and `tid` agree nobody sleeps on it.

mod bells;
mod claim;
mod record;
mod tasks;

pub use bells::socket_name;
use claim::my_tid;
pub use tasks::{LoopWaits, TaskTicket};

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, Weak};

use crate::baton;
use crate::descriptor::Descriptor;
use crate::header::Kind;
use crate::layout::bell::{BELLS, BellWords};
use crate::life::{GENERATION_MASK, Life, Me};
use crate::operation::Operation;
use crate::place::{Placed, PlacedSlice, Shared};
use crate::poller::Poller;
use crate::region::Region;
use crate::tasks::{BLOCKS, TaskBlockWords};
use crate::waits::{Wait, WaitWords};
use crate::{Error, Result, forks, room};

/// Processes a space can hold at one time.
pub const PROCESSES: u32 = 4096;
/// Threads a space can hold at one time.
pub const THREADS: u32 = 32_768;
/// Threads that the table grows by.
const CHUNK: u32 = 512;

const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;

const HEADER: usize = crate::header::WORDS;
const GROWTH: usize = HEADER;
const PROCESS_TABLE: usize = 4096;
const THREAD_TABLE: usize = PROCESS_TABLE + PROCESSES as usize * size_of::<ProcessEntry>();
const BELL_TABLE: usize = THREAD_TABLE + THREADS as usize * size_of::<ThreadEntry>();
const TASK_TABLE: usize = BELL_TABLE + BELLS * size_of::<BellWords>();
/// Bytes of a whole table; what is not used yet is a hole of the file.
pub const TABLE_SIZE: usize = TASK_TABLE + BLOCKS * size_of::<TaskBlockWords>();
/// Bytes of a table that was made before there were bells, and before tasks told what they wait for.
pub(crate) const FORMER_TABLE_SIZES: [usize; 2] = [BELL_TABLE, TASK_TABLE];
/// What every table has from the start: header, processes, and the first threads by [`Lives::format`].
pub(crate) const FIRST_BYTES: u64 = THREAD_TABLE as u64;
/// The byte whose lock the process holds that makes the table grow.
const GROWING: i64 = PROCESSES as i64;

#[derive(Debug)]
#[repr(C, align(64))]
struct GrowthWords {
    /// Thread entries that are reserved and initialised.
    threads: AtomicU32,
    next_thread: AtomicU32,
    next_process: AtomicU32,
    /// Bells that are reserved.
    bells: AtomicU32,
    /// Blocks of tasks' records that are reserved.
    task_blocks: AtomicU32,
}

#[derive(Debug)]
#[repr(C, align(64))]
struct ProcessEntry {
    generation: AtomicU32,
    pid: AtomicU32,
    /// 1 + the slot of a thread of it whose token to watch; 0: look for one.
    watch: AtomicU32,
    /// The pid namespace that `pid` and its threads' ids are of, by inode; 0: unknown.
    namespace: AtomicU32,
}

#[derive(Debug)]
#[repr(C, align(128))]
struct ThreadEntry {
    /// A `pthread_mutex_t`; its first word is the futex, the rest is glibc's.
    token: [AtomicU64; 5],
    generation: AtomicU32,
    process: AtomicU32,
    tid: AtomicU32,
    /// What it sleeps for.
    wait: WaitWords,
}

const _: () = assert!(size_of::<ThreadEntry>() == 128, "the record of what it waits for fits into its entry");

// SAFETY: S1, atomics only.
unsafe impl Shared for GrowthWords {}
// SAFETY: S1.
unsafe impl Shared for ProcessEntry {}
// SAFETY: S1.
unsafe impl Shared for ThreadEntry {}

const _: () = assert!(size_of::<libc::pthread_mutex_t>() == 40, "the token is laid out for glibc on 64 bits");

/// The table of lives of one space, mapped once per process and for ever.
#[derive(Debug)]
pub struct Lives {
    what: String,
    /// The one descriptor of the table: closing any descriptor of the file drops the process's lock.
    file: Descriptor,
    nonce: u64,
    words: Placed<GrowthWords>,
    processes: PlacedSlice<ProcessEntry>,
    threads: PlacedSlice<ThreadEntry>,
    bells: PlacedSlice<BellWords>,
    tasks: PlacedSlice<TaskBlockWords>,
    /// Bells of this process's that have a socket: the number, the owner, what is told of rings by this process itself.
    heard_here: Mutex<Vec<(usize, Life, Weak<Poller>)>>,
    /// epoch << 32 | life of this process, while the epoch is the current one.
    myself: AtomicU64,
    /// The epoch in which a thread claims, grows or mends, or 0: a lock that a fork does not inherit.
    claiming: AtomicU32,
    /// Mapped to be read only: by somebody who does not live here.
    onlooker: bool,
}

/// A thread that lives, and what it waits for.
#[derive(Debug, Clone)]
pub struct Living {
    /// The thread.
    pub thread: Life,
    /// Its process.
    pub process: Life,
    /// None while it is awake, as far as this space goes.
    pub wait: Option<Wait>,
}

/// Where to sleep for somebody's end.
#[derive(Debug)]
pub enum Watch<'a> {
    /// This word changes, and is woken, when the life ends.
    Token(&'a AtomicU32, u32),
    /// It lives, but no thread of it is known here: only asking again tells.
    Unseen,
    /// It has ended.
    Ended,
}

thread_local! {
    /// (nonce of the table, epoch, me) of the last table used, and all of them.
    static CACHED: std::cell::Cell<(u64, u32, Me)> =
        const { std::cell::Cell::new((0, 0, Me::NOBODY)) };
    static CLAIMED: std::cell::RefCell<Vec<(u64, u32, Me)>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Lives {
    /// Makes room for the first entries of a new table.
    ///
    /// # Panics
    /// If the region is not of [`TABLE_SIZE`]: its one caller makes it so.
    pub fn format(region: &Arc<Region>, file: &OwnedFd, what: &str) -> Result<()> {
        let words: Placed<GrowthWords> = Placed::at(region, GROWTH).expect("a table is larger than its growth words");
        let threads = PlacedSlice::at(region, THREAD_TABLE, THREADS as usize).expect("a table holds its threads");
        grow(file, &words, &threads, what)
    }

    /// Takes over the table: for the one caller in [`crate::space`] that makes sure it is the only one of the process.
    pub(crate) fn new(region: &Arc<Region>, file: OwnedFd, nonce: u64, what: &str) -> Result<Self> {
        forks::watch();
        // Never unmapped, whatever becomes of the directory: the robust lists of our threads link into the table.
        std::mem::forget(region.clone());
        let short = || Error::Corrupted { what: what.into(), why: "the table of lives is too short".into() };
        Ok(Self {
            what: what.into(),
            file: Descriptor::new(file).map_err(|errno| Error::system("stat", what, errno))?,
            nonce,
            words: Placed::at(region, GROWTH).ok_or_else(short)?,
            processes: PlacedSlice::at(region, PROCESS_TABLE, PROCESSES as usize).ok_or_else(short)?,
            threads: PlacedSlice::at(region, THREAD_TABLE, THREADS as usize).ok_or_else(short)?,
            bells: PlacedSlice::at(region, BELL_TABLE, BELLS).ok_or_else(short)?,
            tasks: PlacedSlice::at(region, TASK_TABLE, BLOCKS).ok_or_else(short)?,
            heard_here: Mutex::default(),
            myself: AtomicU64::new(0),
            claiming: AtomicU32::new(0),
            onlooker: false,
        })
    }

    /// The table as somebody sees it who does not live there; the region may be mapped to be read only.
    pub(crate) fn look(region: &Arc<Region>, file: OwnedFd, nonce: u64, what: &str) -> Result<Self> {
        Ok(Self { onlooker: true, ..Self::new(region, file, nonce, what)? })
    }

    /// True for somebody who does not live here, and can only look.
    #[must_use]
    pub fn is_onlooker(&self) -> bool {
        self.onlooker
    }

    /// True for the file of that status.
    pub(crate) fn is_file(&self, status: rustix::fs::Stat) -> bool {
        self.file.is_file(status)
    }

    /// What the ids of this table are good for.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Refuses an onlooker, who can change nothing here.
    pub fn check_resident(&self) -> Result<()> {
        if !self.onlooker {
            return Ok(());
        }
        let why = "this process only looks at it: enter the space with Space(path) to take part".into();
        Err(Error::Foreign { what: self.what.clone(), path: self.what.clone(), why })
    }

    /// The calling thread's and process's lives, claimed at their first operation.
    #[inline]
    pub fn me(&self) -> Result<Me> {
        let (table, epoch, me) = CACHED.get();
        if table == self.nonce && epoch == forks::epoch() {
            return Ok(me);
        }
        self.me_slow()
    }

    #[cold]
    fn me_slow(&self) -> Result<Me> {
        self.check_resident()?;
        let (table, epoch) = (self.nonce, forks::epoch());
        let known =
            CLAIMED.with_borrow(|all| all.iter().find(|(t, e, _)| (*t, *e) == (table, epoch)).map(|(_, _, me)| *me));
        let me = if let Some(me) = known {
            me
        } else {
            let process = self.my_process()?;
            let thread = self.claim_thread(process)?;
            let namespace = self.processes[process.slot() as usize].namespace.load(Relaxed);
            let me = Me { thread, process, tid: my_tid(), namespace };
            CLAIMED.with_borrow_mut(|all| {
                all.retain(|(_, e, _)| *e == epoch);
                all.push((table, epoch, me));
            });
            me
        };
        CACHED.set((table, epoch, me));
        Ok(me)
    }

    /// True until the kernel says otherwise. One system call, unless the life is the caller's own.
    #[must_use]
    pub fn alive(&self, life: Life) -> bool {
        if life.is_process() {
            return self.process_alive(life);
        }
        let Some(thread) = self.entry_of(life) else { return false };
        let (word, generation) = (token(thread).load(Acquire), thread.generation.load(Acquire));
        let process = Life(thread.process.load(Relaxed));
        generation == life.generation() && holds(thread, word) && self.process_alive(process)
    }

    /// Where to sleep until that life ends: without a system call, as long as a thread of it is known.
    #[must_use]
    pub fn watch(&self, life: Life) -> Watch<'_> {
        let thread = if life.is_process() { self.thread_of(life) } else { self.entry_of(life) };
        let Some(thread) = thread else {
            return if self.alive(life) { Watch::Unseen } else { Watch::Ended };
        };
        // The word first, the generation after it: see the invariant at the top.
        let word = token(thread).load(Acquire);
        let same = if life.is_process() {
            thread.process.load(Acquire) == life.0
        } else {
            thread.generation.load(Acquire) == life.generation()
        };
        if !same || !holds(thread, word) {
            return if self.alive(life) { Watch::Unseen } else { Watch::Ended };
        }
        Watch::Token(token(thread), word)
    }

    /// The pid, in its own pid namespace, of a process or of the process of a thread; 0 if its slot has been reused.
    #[must_use]
    pub fn pid(&self, life: Life) -> u32 {
        let thread = self.threads.get(life.slot() as usize).filter(|_| !life.is_process());
        let process = match thread {
            Some(thread) => {
                let process = Life(thread.process.load(Acquire));
                if thread.generation.load(Acquire) == life.generation() { process } else { Life::NOBODY }
            }
            None => life,
        };
        let entry = self.processes.get(process.slot() as usize);
        let pid = entry.map_or(0, |entry| entry.pid.load(Acquire));
        let same = entry.is_some_and(|entry| entry.generation.load(Acquire) == process.generation());
        if same { pid } else { 0 }
    }

    /// The thread id of a thread; 0 if its slot has been reused.
    #[must_use]
    pub fn tid(&self, thread: Life) -> u32 {
        let entry = self.entry_of(thread).filter(|_| !thread.is_process());
        let entry = entry.filter(|entry| entry.generation.load(Acquire) == thread.generation());
        entry.map_or(0, |entry| entry.tid.load(Relaxed))
    }

    /// The process that a thread belongs to.
    #[must_use]
    pub fn process_of(&self, thread: Life) -> Life {
        self.entry_of(thread).map_or(Life::NOBODY, |entry| Life(entry.process.load(Relaxed)))
    }

    /// The entry of a thread, if such a one is there. A life that somebody made up names no bytes that were never reserved.
    fn entry_of(&self, thread: Life) -> Option<&ThreadEntry> {
        let known = self.words.threads.load(Acquire).min(THREADS);
        if thread.slot() < known { self.threads.get(thread.slot() as usize) } else { None }
    }

    /// Says what the calling thread is about to sleep for, until [`Self::sleeps_no_more`].
    pub fn sleeps_for(&self, object: u64, kind: Kind, operation: Operation, since: u64, lives: &[Life]) {
        if let Some(entry) = self.my_entry() {
            entry.wait.begin(object, kind, operation, since, lives);
        }
    }

    /// Says that the calling thread is about to sleep until an object of that kind and name appears.
    pub fn sleeps_for_name(&self, kind: Kind, name: &str, since: u64) {
        if let Some(entry) = self.my_entry() {
            entry.wait.begin_name(kind, name, since);
        }
    }

    /// Takes [`Self::sleeps_for`] back.
    pub fn sleeps_no_more(&self) {
        if let Some(entry) = self.my_entry() {
            entry.wait.end();
        }
    }

    /// The calling thread's own entry; none if the table had no place for it.
    fn my_entry(&self) -> Option<&ThreadEntry> {
        self.me().ok().and_then(|me| self.threads.get(me.thread.slot() as usize))
    }

    /// The threads that live here, by the kernel's word, and what each waits for. One system call for each.
    pub fn living(&self) -> impl Iterator<Item = Living> + '_ {
        self.entries().filter_map(|(slot, entry)| {
            let (generation, wait) = (entry.generation.load(Acquire), entry.wait.read());
            let thread = Life::thread(slot, generation);
            let process = Life(entry.process.load(Acquire));
            // Asked last: whose life goes on has not made room for another one meanwhile.
            self.alive(thread).then_some(Living { thread, process, wait })
        })
    }

    /// How many threads sleep for the object of that nonce, those between its steps not counted.
    #[must_use]
    pub fn waiters(&self, object: u64) -> usize {
        let waits = |entry: &ThreadEntry| {
            entry.wait.object() == Some(object)
                && entry.wait.read().is_some_and(|wait| wait.object == object && wait.operation != Operation::Lock)
        };
        self.entries()
            .filter(|(slot, entry)| waits(entry) && self.alive(Life::thread(*slot, entry.generation.load(Acquire))))
            .count()
    }

    /// The entries in which somebody lives or has lived.
    fn entries(&self) -> impl Iterator<Item = (u32, &ThreadEntry)> {
        let known = self.words.threads.load(Acquire).min(THREADS);
        (0..known).zip(self.threads.iter()).filter(|(_, entry)| holds(entry, token(entry).load(Acquire)))
    }

    /// A living thread of that process, remembered in its entry.
    fn thread_of(&self, process: Life) -> Option<&ThreadEntry> {
        let entry = self.processes.get(process.slot() as usize)?;
        let lives = |thread: &ThreadEntry| {
            let word = token(thread).load(Acquire);
            thread.process.load(Acquire) == process.0 && holds(thread, word)
        };
        let hint = entry.watch.load(Relaxed);
        if let Some(thread) = self.threads.get(hint.wrapping_sub(1) as usize)
            && lives(thread)
        {
            return Some(thread);
        }
        let known = self.words.threads.load(Acquire).min(THREADS) as usize;
        let slot = self.threads[..known].iter().position(lives)?;
        if !self.onlooker {
            entry.watch.store(slot as u32 + 1, Relaxed);
        }
        self.threads.get(slot)
    }

    fn process_alive(&self, life: Life) -> bool {
        if life.slot() >= PROCESSES {
            return false;
        }
        if self.claimed() == Some(life) {
            return true;
        }
        let entry = &self.processes[life.slot() as usize];
        entry.generation.load(Acquire) & GENERATION_MASK == life.generation()
            && (self.holds_lock(life.slot()) || self.holds_token(life))
    }
}

fn token(thread: &ThreadEntry) -> &AtomicU32 {
    // SAFETY: S6, the futex is the first 32-bit word of glibc's mutex, and atomics of it are all that touch it.
    unsafe { &*thread.token.as_ptr().cast::<AtomicU32>() }
}

/// The thread that claimed the entry holds the token. Not so if nobody ever did, if the kernel has marked it, or while
/// the next one is about to claim it: it says who it is last.
fn holds(thread: &ThreadEntry, word: u32) -> bool {
    let owner = word & FUTEX_TID_MASK;
    word & FUTEX_OWNER_DIED == 0 && owner != 0 && owner == thread.tid.load(Acquire)
}

/// Reserves and initialises one more chunk of thread entries, then publishes it. Repeating it does no harm.
fn grow(file: impl AsFd, words: &Placed<GrowthWords>, threads: &PlacedSlice<ThreadEntry>, what: &str) -> Result<()> {
    let known = words.threads.load(Acquire);
    let first = (known as usize * size_of::<ThreadEntry>() + THREAD_TABLE) as u64;
    room::reserve(file, first..first + u64::from(CHUNK) * size_of::<ThreadEntry>() as u64, what, &room::alone)?;
    for thread in &threads[known as usize..(known + CHUNK) as usize] {
        // SAFETY: S6, nobody knows these entries before the count is published.
        unsafe {
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            libc::pthread_mutex_init(thread.token.as_ptr().cast_mut().cast(), &raw const attributes);
            libc::pthread_mutexattr_destroy(&raw mut attributes);
        }
    }
    words.threads.store(known + CHUNK, Release);
    Ok(())
}

/// Tries to make the token the calling thread's, for as long as it lives.
fn lock_token(thread: &ThreadEntry) -> bool {
    let mutex = thread.token.as_ptr().cast_mut().cast::<libc::pthread_mutex_t>();
    // glibc names the mutex in the same place while it links it in, and forgets what stood there. An operation that has
    // named its object's baton may be this thread's first.
    let named = baton::name(std::ptr::null());
    // SAFETY: S6, the mutex was initialised before its slot was published, and the table is never unmapped.
    let locked = match unsafe { libc::pthread_mutex_trylock(mutex) } {
        0 => true,
        libc::EOWNERDEAD => {
            // SAFETY: S6, this thread has just locked it.
            unsafe { libc::pthread_mutex_consistent(mutex) };
            true
        }
        _ => false,
    };
    baton::name(named);
    locked
}
