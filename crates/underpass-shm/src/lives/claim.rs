//! Claiming a life, keeping it, and what stands for it when a process has lost its lock.

use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::record::{lock_byte, locked_by_another, unlock_byte};
use super::{FUTEX_WAITERS, GROWING, Lives, PROCESSES, THREADS, grow, lock_token, token};
use crate::life::{GENERATION_MASK, Life};
use crate::{Error, Result, forks, futex};

impl Lives {
    /// Another process holds the lock of that slot.
    pub(super) fn holds_lock(&self, slot: u32) -> bool {
        !self.locked_among(slot..slot + 1).is_empty()
    }

    /// The slots whose locks other processes hold: a question for each, and one for each stretch between.
    pub(super) fn locked(&self) -> Vec<u32> {
        let (mut unasked, mut locked) = (Vec::new(), Vec::new());
        unasked.push(0..PROCESSES);
        while let Some(slots) = unasked.pop() {
            let some = self.locked_among(slots.clone());
            if !some.is_empty() {
                let beside = [slots.start..some.start, some.end..slots.end];
                unasked.extend(beside.into_iter().filter(|slots| !slots.is_empty()));
                locked.extend(some);
            }
        }
        locked
    }

    /// Some of those slots, in a row, whose locks another process holds; none if none is. When this process has lost the table,
    /// nobody is condemned: it is all of them.
    fn locked_among(&self, slots: Range<u32>) -> Range<u32> {
        let ask = || locked_by_another(self.file.number(), slots.clone());
        let mut locked = ask();
        if locked.as_ref().is_none_or(Range::is_empty) && self.file.intact().is_none() {
            locked = if self.keep().is_ok() { ask() } else { None };
        }
        locked.unwrap_or(slots)
    }

    /// A thread of that process lives: it has lost its lock alone, by closing a descriptor of the table.
    ///
    /// Death marks all tokens before it drops the lock. exec from a thread that is not the leader leaves that thread's
    /// token as it was, but no thread of that id: so the kernel is asked for it, where ids mean the same.
    pub(super) fn holds_token(&self, process: Life) -> bool {
        let Some(thread) = self.thread_of(process) else { return false };
        let entry = &self.processes[process.slot() as usize];
        let (pid, namespace) = (entry.pid.load(Relaxed), entry.namespace.load(Relaxed));
        namespace != 0 && namespace == pid_namespace() && thread_exists(pid, thread.tid.load(Acquire))
    }

    /// The life of this process, if it has claimed one since the last fork.
    pub(crate) fn claimed(&self) -> Option<Life> {
        let myself = self.myself.load(Acquire);
        (myself >> 32 == u64::from(forks::epoch())).then_some(Life(myself as u32))
    }

    pub(super) fn my_process(&self) -> Result<Life> {
        if let Some(life) = self.claimed() {
            return Ok(life);
        }
        let alone = self.alone();
        if let Some(life) = self.claimed() {
            return Ok(life);
        }
        // A daemon closes all descriptors between its fork and here.
        let life = self.claim_process(self.mend()?)?;
        self.myself.store(u64::from(forks::epoch()) << 32 | u64::from(life.0), Release);
        drop(alone);
        self.announce_newcomer();
        Ok(life)
    }

    fn claim_process(&self, file: BorrowedFd<'_>) -> Result<Life> {
        for _ in 0..PROCESSES {
            let slot = self.words.next_process.fetch_add(1, Relaxed) % PROCESSES;
            if !lock_byte(file, i64::from(slot), libc::F_SETLK) {
                continue;
            }
            let entry = &self.processes[slot as usize];
            let before = entry.generation.load(Relaxed);
            if before != 0 && self.holds_token(Life::process(slot, before)) {
                unlock_byte(file, i64::from(slot));
                continue;
            }
            let generation = next_generation(before);
            entry.watch.store(0, Relaxed);
            entry.pid.store(std::process::id(), Relaxed);
            entry.namespace.store(pid_namespace(), Relaxed);
            entry.generation.store(generation, Release);
            return Ok(Life::process(slot, generation));
        }
        Err(Error::too_many_lives(&self.what, "place for a process", PROCESSES))
    }

    /// Takes this process's lock again if the program has dropped it, by closing a descriptor of the table. Two system
    /// calls: for operations that make more of them, and for sleepers that have slept long.
    pub fn keep(&self) -> Result<()> {
        let _alone = self.alone();
        let file = self.mend()?;
        let Some(life) = self.claimed() else { return Ok(()) };
        // If that fails, somebody looks at the slot in order to claim it: it stays locked, and is left to us.
        lock_byte(file, i64::from(life.slot()), libc::F_SETLK);
        let entry = &self.processes[life.slot() as usize];
        if entry.generation.load(Acquire) & GENERATION_MASK != life.generation() {
            // It was given to another, by one that cannot see our threads: for all others this process is dead.
            forks::begin_epoch();
        }
        Ok(())
    }

    /// Opens the table again if its descriptor was closed. Alone: each close of another one would drop the lock.
    fn mend(&self) -> Result<BorrowedFd<'_>> {
        if let Some(file) = self.file.intact() {
            return Ok(file);
        }
        let failed = |errno| Error::system("open again", &self.what, errno);
        // A path that names another table by now may be in use here: opened as a place only, it drops no lock.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::open(Path::new(&self.what), flags, Mode::empty()).map_err(failed)?;
        if !self.file.is_file(rustix::fs::fstat(&place).map_err(failed)?) {
            return Err(failed(Errno::STALE));
        }
        let place = format!("/proc/self/fd/{}", place.as_raw_fd());
        let flags = OFlags::CLOEXEC | if self.onlooker { OFlags::RDONLY } else { OFlags::RDWR };
        self.file.replace(rustix::fs::open(place, flags, Mode::empty()).map_err(failed)?);
        self.file.intact().ok_or(failed(Errno::STALE))
    }

    pub(super) fn claim_thread(&self, process: Life) -> Result<Life> {
        loop {
            let known = self.words.threads.load(Acquire).min(THREADS);
            for _ in 0..known {
                let slot = self.words.next_thread.fetch_add(1, Relaxed) % known;
                let thread = &self.threads[slot as usize];
                if !lock_token(thread) {
                    continue;
                }
                let generation = next_generation(thread.generation.load(Relaxed));
                thread.wait.end();
                thread.process.store(process.0, Release);
                thread.generation.store(generation, Release);
                token(thread).fetch_or(FUTEX_WAITERS, AcqRel);
                thread.tid.store(my_tid(), Release);
                futex::wake(token(thread), u32::MAX);
                let entry = &self.processes[process.slot() as usize];
                let _ = entry.watch.compare_exchange(0, slot + 1, Relaxed, Relaxed);
                return Ok(Life::thread(slot, generation));
            }
            if known >= THREADS {
                return Err(Error::too_many_lives(&self.what, "place for a thread", THREADS));
            }
            self.grow(|file| {
                let is_due = self.words.threads.load(Acquire) == known;
                if is_due { grow(file, &self.words, &self.threads, &self.what) } else { Ok(()) }
            })?;
        }
    }

    /// Has the table grow, one process and thread at a time.
    pub(super) fn grow(&self, grow: impl FnOnce(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
        let _alone = self.alone();
        let file = self.mend()?;
        if !lock_byte(file, GROWING, libc::F_SETLKW) {
            return Err(Error::last("lock for growth", &self.what));
        }
        let grown = grow(file);
        unlock_byte(file, GROWING);
        grown
    }

    /// Threads of this process claim, grow and mend one at a time: record locks do not keep them apart.
    fn alone(&self) -> impl Drop + '_ {
        struct Alone<'a>(&'a AtomicU32);
        impl Drop for Alone<'_> {
            fn drop(&mut self) {
                self.0.store(0, Release);
            }
        }
        let epoch = forks::epoch();
        loop {
            // Somebody of another epoch is a thread of the process that this one was forked from: here it does not exist.
            let other = self.claiming.load(Relaxed);
            if other != epoch && self.claiming.compare_exchange(other, epoch, AcqRel, Relaxed).is_ok() {
                return Alone(&self.claiming);
            }
            std::thread::yield_now();
        }
    }
}

fn next_generation(generation: u32) -> u32 {
    (generation & GENERATION_MASK) % GENERATION_MASK + 1
}

/// The caller's pid namespace, by inode; 0 if it is not known. A process has one for ever.
pub(super) fn pid_namespace() -> u32 {
    rustix::fs::stat("/proc/self/ns/pid").map_or(0, |status| status.st_ino as u32)
}

/// The calling thread's id, in its own pid namespace.
pub(super) fn my_tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

fn thread_exists(pid: u32, tid: u32) -> bool {
    // SAFETY: S4, no pointers; signal 0 is a question.
    let code = unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) };
    code == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}
