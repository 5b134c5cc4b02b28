//! Futexes between processes: sleep until one of several words changes, wake those who sleep.
//!
//! `futex_waitv` (Linux 5.16) is the way to sleep; there is no second one for a single word. The exception is
//! `FUTEX_LOCK_PI2` (Linux 5.14), since only the kernel can lend a priority.

use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::io::Errno;

/// How many words one sleep can watch (`FUTEX_WAITV_MAX`).
pub const MAX_WORDS: usize = 128;

const FUTEX_32: u32 = 2;
const FUTEX_LOCK_PI2: i32 = 13;
/// Queues where no wake of ours goes: the word is compared, and nothing else.
const PRIVATE: u32 = 128;
const FEW: usize = 8;

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woke {
    /// Somebody woke the word at this index.
    Word(usize),
    /// A word had another value than expected: there was no sleep.
    Changed,
    /// The deadline has passed.
    Expired,
    /// A signal handler ran.
    Interrupted,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

impl Waiter {
    const NOBODY: Self = Self { value: 0, address: 0, flags: 0, reserved: 0 };

    fn new(word: *const u32, value: u32, flags: u32) -> Self {
        Self { value: u64::from(value), address: word as u64, flags: FUTEX_32 | flags, reserved: 0 }
    }

    /// The halves of a wide word, in the order in which they stand in memory.
    fn halves(word: &AtomicU64, value: u64) -> [Self; 2] {
        let first = word.as_ptr().cast_const().cast::<u32>();
        let (low, high) = (value as u32, (value >> 32) as u32);
        let [at_first, behind] = if cfg!(target_endian = "little") { [low, high] } else { [high, low] };
        [Self::new(first, at_first, PRIVATE), Self::new(first.wrapping_add(1), behind, PRIVATE)]
    }
}

/// What a sleep only compares: once it is queued on every word that can wake it.
///
/// The kernel goes through the words one by one. One that changes after it was compared is told by its own wake; but
/// where a death before that wake is told on another word, the sleeper may not be queued there yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compared<'a> {
    /// Words.
    pub words: &'a [(&'a AtomicU32, u32)],
    /// Words of 64 bits. Only the kernel reads them in halves, and any change that stays shows in one of them.
    pub wide: &'a [(&'a AtomicU64, u64)],
}

impl Compared<'_> {
    /// How many words of a sleep these take.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len() + 2 * self.wide.len()
    }

    /// True when there is nothing to compare.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

impl Timespec {
    fn new(ns: u64) -> Self {
        let second = 1_000_000_000;
        Self { seconds: (ns / second).cast_signed(), nanoseconds: (ns % second).cast_signed() }
    }
}

/// Sleeps until one of `words` is woken, one of all differs from its expected value, or the monotonic `deadline` (ns)
/// passes.
///
/// # Panics
/// With more than [`MAX_WORDS`] words: callers bound their lists.
pub fn wait_any(words: &[(&AtomicU32, u32)], compared: Compared<'_>, deadline: Option<u64>) -> Woke {
    let count = words.len() + compared.len();
    assert!(count <= MAX_WORDS, "a sleep watches at most {MAX_WORDS} words");
    // Few words are the rule, and clearing room for all of them would take longer than what follows.
    let (mut few, mut many);
    let waiters: &mut [Waiter] = if count <= FEW {
        few = [Waiter::NOBODY; FEW];
        &mut few
    } else {
        many = [Waiter::NOBODY; MAX_WORDS];
        &mut many
    };
    let shared = words.iter().map(|(word, expected)| Waiter::new(word.as_ptr(), *expected, 0));
    let again = compared.words.iter().map(|(word, expected)| Waiter::new(word.as_ptr(), *expected, PRIVATE));
    let wide = compared.wide.iter().flat_map(|(word, expected)| Waiter::halves(word, *expected));
    for (waiter, one) in waiters.iter_mut().zip(shared.chain(again).chain(wide)) {
        *waiter = one;
    }
    let until = deadline.map(Timespec::new);
    let until = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: S4, the words outlive the call by their borrows, and the kernel only reads the array and the time.
    let index =
        unsafe { libc::syscall(libc::SYS_futex_waitv, waiters.as_ptr(), count, 0, until, libc::CLOCK_MONOTONIC) };
    if let Ok(index) = usize::try_from(index) {
        return Woke::Word(index);
    }
    match last() {
        Errno::AGAIN => Woke::Changed,
        Errno::TIMEDOUT => Woke::Expired,
        Errno::INTR => Woke::Interrupted,
        other => panic!("futex_waitv on {count} valid words: {other}"),
    }
}

/// Wakes up to `count` who sleep on `word`, and tells how many there were.
pub fn wake(word: &AtomicU32, count: u32) -> u32 {
    let count = count.min(i32::MAX as u32);
    // SAFETY: S4, the word is alive by its borrow.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count, 0, 0, 0) };
    u32::try_from(woken).unwrap_or(0)
}

/// How a sleep in [`lock_pi`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lent {
    /// The caller is in the word.
    Mine,
    /// The deadline has passed.
    Expired,
    /// Whom the word names does not exist, or is about to end, or the word and the kernel disagree for a moment.
    Unsettled,
    /// It would wait for itself: directly, or through others that wait in the kernel.
    Cycle,
    /// The word names somebody to whom nobody may lend.
    Forged,
}

/// The half of a wide word that lends: the lower one, wherever it stands.
#[must_use]
pub fn lower(word: &AtomicU64) -> *const u32 {
    word.as_ptr().cast_const().cast::<u32>().wrapping_add(usize::from(cfg!(target_endian = "big")))
}

/// Sleeps until the kernel writes the caller's thread id into the lower half of `word`, and lends the caller's priority to
/// the thread that is there; or until the monotonic `deadline` (ns) passes. A signal does not end it.
#[must_use]
pub fn lock_pi(word: &AtomicU64, deadline: Option<u64>) -> Lent {
    let until = deadline.map(Timespec::new);
    let until = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: S4, the word outlives the call by its borrow, and the kernel only reads the time.
    let code = unsafe { libc::syscall(libc::SYS_futex, lower(word), FUTEX_LOCK_PI2, 0, until, 0, 0) };
    match if code == 0 { return Lent::Mine } else { last() } {
        Errno::TIMEDOUT => Lent::Expired,
        Errno::DEADLK => Lent::Cycle,
        Errno::PERM => Lent::Forged,
        // Not there, about to end, between two steps of the kernel's, or no memory just now.
        _ => Lent::Unsettled,
    }
}

/// Has the kernel write into the lower half of `word`, where the caller is, who of those that sleep comes next, and wakes
/// that one; or nobody. False: the word and the kernel disagree.
#[must_use]
pub fn unlock_pi(word: &AtomicU64) -> bool {
    // SAFETY: S4.
    let code = unsafe { libc::syscall(libc::SYS_futex, lower(word), libc::FUTEX_UNLOCK_PI, 0, 0, 0, 0) };
    code == 0
}

/// Why this kernel cannot carry underpass, if it cannot: `futex_waitv` is missing or forbidden.
#[must_use]
pub fn refusal() -> Option<&'static str> {
    // SAFETY: S4, zero words are refused with EINVAL before anything is read.
    let code = unsafe { libc::syscall(libc::SYS_futex_waitv, std::ptr::null::<Waiter>(), 0, 0, 0, 0) };
    match if code < 0 { last() } else { Errno::INVAL } {
        Errno::NOSYS => Some("underpass needs Linux 5.16 or newer: this kernel has no futex_waitv (ENOSYS)"),
        Errno::PERM | Errno::ACCESS => Some(
            "underpass needs futex_waitv, which a seccomp profile forbids here (EPERM): \
             allow it, or use a newer container runtime",
        ),
        _ => None,
    }
}

fn last() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
