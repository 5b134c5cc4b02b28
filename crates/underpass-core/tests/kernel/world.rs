//! The stage: a space of its own, words that all processes of the test see, and processes that a test may kill.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use underpass_core::kernel::Kernel;
use underpass_core::linux::{self, Linux, NoHost};
use underpass_core::wait::{Patience, Waiting, wait_until};
use underpass_core::{Deadline, Error, Result};
use underpass_shm::life::{Life, Me};
use underpass_shm::place::PlacedSlice;
use underpass_shm::region::Region;
use underpass_shm::space::Space;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use underpass_shm::{clock, futex};

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
/// A test that waits longer has hung.
pub const PATIENCE: u64 = 20_000_000_000;
/// Between two looks.
const PAUSE: u64 = 100_000;

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
        let space = Space::enter(&path, 0o700).expect("a space in /dev/shm");
        let region = Region::anonymous(WORDS * size_of::<AtomicU32>()).expect("16 KiB");
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

    pub fn baton(&self) -> &AtomicU32 {
        &self.words[BATON]
    }

    pub fn waiting<'a, 'p>(&'a self, deadline: Deadline, patience: &'p Patience) -> Waiting<'a, 'p> {
        Waiting { baton: self.baton(), deadline, patience, partner: 0 }
    }

    /// Claims the calling thread's lives and tells the test.
    pub fn announce(&self) {
        let Me { thread, process } = self.kernel.me().expect("a place in the table");
        self.words[THREAD].store(thread.0, Relaxed);
        self.words[PROCESS].store(process.0, SeqCst);
    }

    /// The lives that some process has announced since the last call.
    pub fn announced(&self) -> Me {
        until("a process announces its lives", || self.words[PROCESS].load(SeqCst) != 0);
        let thread = Life(self.words[THREAD].load(Relaxed));
        Me { thread, process: Life(self.words[PROCESS].swap(0, SeqCst)) }
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
                    return Err(Error::PeerDied { pid: self.kernel.pid(life) });
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

/// A child of the test.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    ended: bool,
}

impl Process {
    /// Forks; the child does `role` and ends.
    pub fn start(role: impl FnOnce()) -> Self {
        // SAFETY: S4, the child has this thread alone. It uses what a fork leaves usable: glibc's allocator, the
        // space that was entered before, and words in shared memory; and it ends by _exit.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: S4, plain numbers. A test that is killed leaves nobody behind.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            leave(&std::panic::catch_unwind(AssertUnwindSafe(role)));
        }
        Self { pid, ended: false }
    }

    pub fn signal(&self, signal: i32) {
        assert!(!self.ended);
        // SAFETY: S4, plain numbers.
        unsafe { libc::kill(self.pid, signal) };
    }

    /// Kills it, and returns when the kernel has buried it.
    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// Its end, which must be a good one.
    pub fn join(mut self) {
        until("the process ends", || self.has_ended());
        assert_eq!(self.wait(), 0, "a process of the test failed; its message is above");
    }

    /// Its end by SIGKILL.
    pub fn join_killed(mut self) {
        until("the process ends", || self.has_ended());
        assert_eq!(self.wait(), libc::SIGKILL, "the process was to die by SIGKILL");
    }

    pub fn has_ended(&self) -> bool {
        state(self.pid) == 'Z'
    }

    /// True while its first thread sleeps in the one way to sleep.
    pub fn is_parked(&self) -> bool {
        is_parked(self.pid)
    }

    fn wait(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: S4, the kernel writes the status it is given.
        unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        self.ended = true;
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(libc::SIGKILL);
            self.wait();
        }
    }
}

fn leave(result: &std::thread::Result<()>) -> ! {
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let line = format!("in a process of the test: {}\n", text.unwrap_or("panic"));
        // SAFETY: S4, the bytes outlive the call. Not by eprintln: the harness may hold its lock.
        unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
    }
    // SAFETY: S4, ends this process without running what belongs to the parent.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// Sleeps until [`change`] gives the word another value: for crowds, too many to look again and again.
pub fn sleep_while(word: &AtomicU32, value: u32) {
    while word.load(SeqCst) == value {
        futex::wait_any(&[(word, value)], None);
    }
}

/// Ends a [`sleep_while`].
pub fn change(word: &AtomicU32, value: u32) {
    word.store(value, SeqCst);
    futex::wake(word, u32::MAX);
}

/// Sleeps until somebody kills the process.
pub fn stay() -> ! {
    loop {
        // SAFETY: S4, no arguments.
        unsafe { libc::pause() };
    }
}

/// Dies as if killed at this instruction.
pub fn die() -> ! {
    // SAFETY: S4, plain numbers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    stay()
}

fn pause() {
    futex::wait_any(&[(&AtomicU32::new(0), 0)], Some(clock::monotonic() + PAUSE));
}

/// Looks until `condition` holds; a test fails that looks too long.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = clock::monotonic() + PATIENCE;
    for look in 0.. {
        if condition() {
            return;
        }
        assert!(clock::monotonic() < end, "waited in vain until {what}");
        if look < 20 {
            std::thread::yield_now();
        } else {
            pause();
        }
    }
}

/// The letter of `/proc/<tid>/stat`: S sleeps, R runs or could, T is stopped, Z has ended; X is gone.
pub fn state(tid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{tid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('X')
}

/// True while that thread sleeps in `futex_waitv`.
pub fn is_parked(tid: i32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{tid}/syscall")).unwrap_or_default();
    call.split(' ').next().and_then(|number| number.parse().ok()) == Some(libc::SYS_futex_waitv)
}

/// The processors that `tid` may use (0: the calling thread).
pub fn affinity(tid: i32) -> Vec<usize> {
    // SAFETY: S4, all zeroes is the empty set, and the kernel writes no more than its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(tid, size_of::<libc::cpu_set_t>(), &raw mut set);
        set
    };
    // SAFETY: S4, reads the set that was just written.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Binds `tid` (0: the calling thread) to these processors.
pub fn pin(tid: i32, cpus: &[usize]) {
    // SAFETY: S4, all zeroes is the empty set, and the kernel reads no more than its size.
    let code = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for cpu in cpus {
            libc::CPU_SET(*cpu, &mut set);
        }
        libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(code, 0, "sched_setaffinity: {}", std::io::Error::last_os_error());
}
