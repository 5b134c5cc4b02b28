//! The kernel of the product: Linux, through the futexes and lives of one space.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use underpass_shm::futex::{self, Woke};
use underpass_shm::life::{Life, Me};
use underpass_shm::lives;
use underpass_shm::space::Space;
use underpass_shm::sync::{AtomicU32, AtomicU64};
use underpass_shm::{baton, clock, cpus};

use crate::Result;
use crate::kernel::{Kernel, LIVES, Memory, Parked, WORDS, Wanted, Watch};

/// After this long every sleeper looks for itself: the backstop for stopped processes and two deaths in one instant.
const RECHECK: u64 = 1_000_000_000;
/// The first sleep of somebody whom nothing would tell of an end; doubled each time, up to the re-check.
const NAP: u64 = 50_000;
/// The longest spin of a process whose other threads do not want the interpreter.
const LONGEST_SPIN: u64 = 50_000;

/// The re-check interval in force; tests turn it off to see that the kernel tells.
static RECHECK_EVERY: AtomicU64 = AtomicU64::new(RECHECK);

/// Sets the re-check interval of this process, in nanoseconds. For tests: `u64::MAX` turns it off.
pub fn set_recheck(interval: u64) {
    RECHECK_EVERY.store(interval, Relaxed);
}

/// The interpreter that runs above, or nobody.
pub trait Host: Send + Sync + std::fmt::Debug {
    /// Calls `sleep` while other threads of the interpreter may run.
    fn detached(&self, sleep: &mut dyn FnMut());
    /// Runs the interpreter's signal handlers; true if one raised.
    fn signals(&self) -> bool;
    /// How long a thread may spin while it keeps the interpreter from others, in nanoseconds.
    fn longest_spin(&self) -> u64;
}

/// No interpreter: for Rust's own tests.
#[derive(Debug)]
pub struct NoHost;

impl Host for NoHost {
    fn detached(&self, sleep: &mut dyn FnMut()) {
        sleep();
    }

    fn signals(&self) -> bool {
        false
    }

    fn longest_spin(&self) -> u64 {
        LONGEST_SPIN
    }
}

/// One space of this machine.
#[derive(Debug)]
pub struct Linux {
    space: Arc<Space>,
    host: &'static dyn Host,
}

impl Linux {
    /// The world of the objects in `space`.
    #[must_use]
    pub fn new(space: Arc<Space>, host: &'static dyn Host) -> Self {
        Self { space, host }
    }

    /// Where its objects are files.
    #[must_use]
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }
}

impl Kernel for Linux {
    fn now(&self) -> u64 {
        clock::monotonic()
    }

    fn me(&self) -> Result<Me> {
        Ok(self.space.lives().me()?)
    }

    fn alive(&self, life: Life) -> bool {
        self.space.lives().alive(life)
    }

    fn pid(&self, life: Life) -> u32 {
        self.space.lives().pid(life)
    }

    fn park(&self, watch: &Watch<'_>, baton: &AtomicU32, until: Option<u64>) -> Parked {
        if self.host.signals() {
            return Parked::Interrupted;
        }
        let table = self.space.lives();
        let mut words = [(baton, 0); WORDS + LIVES + 1];
        let mut count = 0;
        for pair in watch.words() {
            words[count] = pair;
            count += 1;
        }
        let tokens = count;
        let mut unseen = false;
        for life in watch.lives() {
            match table.watch(*life) {
                lives::Watch::Token(word, value) => {
                    words[count] = (word, value);
                    count += 1;
                }
                lives::Watch::Unseen => unseen = true,
                lives::Watch::Ended => return Parked::Look,
            }
        }
        let naps = if unseen { watch.naps.get() + 1 } else { 0 };
        watch.naps.set(naps);
        let longest = RECHECK_EVERY.load(Relaxed);
        // A process that exits marks its threads' tokens a little before it drops its lock: soon it will be seen.
        let longest = if unseen { NAP.checked_shl(naps).unwrap_or(RECHECK).min(RECHECK).min(longest) } else { longest };
        let recheck = clock::monotonic().saturating_add(longest);
        let sleep_until = until.map_or(recheck, |time| time.min(recheck));
        // Of several that were woken, futex_waitv tells the last.
        words[count] = (baton, 0);
        let mut woke = Woke::Changed;
        self.host.detached(&mut || {
            woke = futex::wait_any(&words[..=count], (sleep_until != u64::MAX).then_some(sleep_until));
        });
        match woke {
            Woke::Word(index) => {
                for (token, value) in &words[tokens..count] {
                    // The kernel tells one sleeper of an end; that one tells the others, who re-target.
                    if token.load(Acquire) != *value {
                        futex::wake(token, u32::MAX);
                    }
                }
                if index == count { Parked::Baton } else { Parked::Look }
            }
            Woke::Expired if until.is_some_and(|time| clock::monotonic() >= time) => Parked::Expired,
            Woke::Interrupted if self.host.signals() => Parked::Interrupted,
            Woke::Changed | Woke::Expired | Woke::Interrupted => Parked::Look,
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        futex::wake(word, count)
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        baton::name(word)
    }

    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        let newborn = self.space.newborn(wanted.name, wanted.kind, wanted.size, wanted.parameters)?;
        (wanted.format)(&newborn.region)?;
        let (region, header) = (newborn.region.clone(), newborn.header.clone());
        Ok(Memory { region, header, file: newborn.publish(false)? })
    }

    fn cpus(&self) -> u64 {
        cpus::mine()
    }

    fn spin(&self, partner: u64) -> u64 {
        if cpus::together(partner) { self.host.longest_spin() } else { 0 }
    }
}
