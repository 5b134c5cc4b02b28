//! Processes that a test may kill, and what the kernel says about them.

use std::panic::AssertUnwindSafe;

use underpass_shm::futex::Compared;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::SeqCst;
use underpass_shm::{clock, futex};

/// A test that waits longer has hung.
pub const PATIENCE: u64 = 20_000_000_000;
/// Between two looks.
const PAUSE: u64 = 100_000;

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

    /// Its end, a good one or by SIGKILL: what others do meanwhile decides which.
    pub fn join_either(mut self) {
        until("the process ends", || self.has_ended());
        assert!(matches!(self.wait(), 0 | libc::SIGKILL), "a process of the test failed; its message is above");
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
        futex::wait_any(&[(word, value)], Compared::default(), None);
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
    futex::wait_any(&[(&AtomicU32::new(0), 0)], Compared::default(), Some(clock::monotonic() + PAUSE));
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
