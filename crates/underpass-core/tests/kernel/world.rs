//! The stage: a space of its own, words that all processes of a test see, and the roles that they play over them.

use std::path::PathBuf;

use underpass_core::error::Phase;
use underpass_core::kernel::Kernel;
use underpass_core::linux::{self, Linux, NoHost};
use underpass_core::wait::{Patience, Sleepers, Waiting, wait_until};
use underpass_core::{Deadline, Error, Result};
use underpass_shm::access::Access;
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::place::PlacedSlice;
use underpass_shm::region::{Extent, Region};
use underpass_shm::space::Space;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use crate::process::{Process, stay, until};

/// No re-check at all.
pub const OFF: u64 = u64::MAX;
/// What every process of the product uses.
pub const DEFAULT: u64 = 1_000_000_000;
/// Words of a world; the first few have the names below, the others are the test's.
const WORDS: usize = 4096;
/// The bare test word: units to take.
const UNITS: usize = 0;
const BATON: usize = 1;
const PROCESS: usize = 2;
const THREAD: usize = 3;
/// The first word that a test may use as it likes.
const FREE: usize = 16;

/// How far a watcher has come, in its report.
pub const WATCHING: u32 = 1;
pub const TOLD: u32 = 2;

#[derive(Debug)]
pub struct World {
    pub kernel: &'static Linux,
    words: PlacedSlice<AtomicU32>,
    path: PathBuf,
}

impl World {
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("underpass-kernel-{}-{}", std::process::id(), SERIAL.fetch_add(1, Relaxed));
        let path = PathBuf::from("/dev/shm").join(name);
        let space = Space::enter(&path, Access::Mine(0o700)).expect("a space in /dev/shm");
        let region = Region::anonymous(Extent::whole(WORDS * size_of::<AtomicU32>())).expect("16 KiB");
        let words = PlacedSlice::at(&region, 0, WORDS).expect("the region holds them");
        let kernel: &Linux = Box::leak(Box::new(Linux::new(space, &NoHost)));
        // What the library reads once per process is read before anybody forks in the middle of it.
        kernel.spin(0);
        Self { kernel, words, path }
    }

    /// A word for the test's own use.
    pub fn word(&self, index: usize) -> &AtomicU32 {
        &self.words[FREE + index]
    }

    pub fn units(&self) -> &AtomicU32 {
        &self.words[UNITS]
    }

    pub fn waiting<'a, 'p>(&'a self, deadline: Deadline, patience: &'p Patience) -> Waiting<'a, 'p> {
        Waiting { sleepers: Some(self), deadline, patience, partner: 0, operation: Operation::Acquire }
    }

    /// Claims the calling thread's lives and tells the test.
    pub fn announce(&self) {
        let Me { thread, process, .. } = self.kernel.me().expect("a place in the table");
        self.words[THREAD].store(thread.0, Relaxed);
        self.words[PROCESS].store(process.0, SeqCst);
    }

    /// The lives that some process has announced since the last call.
    pub fn announced(&self) -> Me {
        until("a process announces its lives", || self.words[PROCESS].load(SeqCst) != 0);
        let thread = Life(self.words[THREAD].load(Relaxed));
        Me { thread, process: Life(self.words[PROCESS].swap(0, SeqCst)), ..Me::NOBODY }
    }

    /// Starts a process that announces its lives, does `then`, and stays until it is killed.
    pub fn mortal(&self, then: impl FnOnce()) -> (Process, Me) {
        let process = Process::start(|| {
            self.announce();
            then();
            stay();
        });
        (process, self.announced())
    }

    /// Starts a process that sleeps until `life` ends, and leaves then with an error as a client of a dead server does.
    pub fn watcher(&self, life: Life, recheck: u64, report: usize) -> Process {
        self.word(report).store(0, SeqCst);
        let process = Process::start(|| self.watch(life, recheck, report));
        until("the watcher sleeps", || process.is_parked());
        process
    }

    /// What a watcher does.
    pub fn watch(&self, life: Life, recheck: u64, report: usize) {
        linux::set_recheck(recheck);
        self.word(report).store(WATCHING, SeqCst);
        let result: Result<()> = wait_until(
            self.kernel,
            self.waiting(Deadline::Never, &Patience::new()),
            || false,
            |watch, _| {
                if !self.kernel.alive(life) {
                    return Err(Error::PeerDied { pid: self.kernel.pid(life), phase: Phase::Wait });
                }
                if let Some(watch) = watch {
                    watch.life(life);
                }
                Ok(None)
            },
        );
        assert!(matches!(result, Err(Error::PeerDied { .. })), "{result:?}");
        self.word(report).store(TOLD, SeqCst);
    }

    pub fn until_told(&self, report: usize) {
        until("the watcher is told", || self.word(report).load(SeqCst) == TOLD);
    }

    /// Takes a unit of the bare test word. `woken` runs after a sleep, before anything is done about it.
    pub fn take(&self, deadline: Deadline, mut woken: impl FnMut()) -> Result<()> {
        let (units, ready) = (self.units(), || self.units().load(Relaxed) != 0);
        wait_until(self.kernel, self.waiting(deadline, &Patience::new()), ready, |watch, slept| {
            if slept {
                woken();
            }
            if units.compare_exchange(1, 0, AcqRel, Acquire).is_ok() {
                return Ok(Some(()));
            }
            if let Some(watch) = watch {
                watch.word(units, 0);
            }
            Ok(None)
        })
    }

    /// Starts a process that sleeps until there is a unit and takes it.
    pub fn taker(&self, woken: impl FnMut()) -> Process {
        let process = Process::start(|| {
            linux::set_recheck(OFF);
            self.take(Deadline::Never, woken).expect("nothing ends this wait but a unit");
        });
        until("the taker sleeps", || process.is_parked());
        process
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Sleepers for World {
    fn baton(&self) -> &AtomicU32 {
        &self.words[BATON]
    }

    fn recall(&self, kernel: &dyn Kernel) {
        kernel.wake(self.units(), u32::MAX);
    }
}
