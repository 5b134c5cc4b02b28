//! Many descriptors at once: epoll, and the ends of processes as descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use crate::clock;
use crate::error::{Error, Result};

/// Descriptors that one look tells.
const AT_ONCE: usize = 256;
const SECOND: u64 = 1_000_000_000;
/// It can be read, or its other end is gone.
const READABLE: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP);
const ONCE: epoll::EventFlags = READABLE.union(epoll::EventFlags::ONESHOT);

/// What a sleep was ended by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// The keys of those that are readable, or have failed; none if the time came.
    Keys(Vec<u64>),
    /// A signal.
    Interrupted,
}

/// An epoll descriptor, and one that this process makes readable itself.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    own: OwnedFd,
}

/// The key of the descriptor that [`Poller::remind`] makes readable.
pub const OWN: u64 = u64::MAX;

impl Poller {
    /// One with nothing in it.
    pub fn new() -> Result<Self> {
        let failed = |errno| Error::system("create", "a wait set", errno);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let own = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let poller = Self { epoll, own };
        poller.add(&poller.own, OWN, "a wait set")?;
        Ok(poller)
    }

    /// Has whoever sleeps look, until [`Self::forget`].
    pub fn remind(&self) {
        // Only a count that is full can refuse, and that is readable.
        let _ = rustix::io::write(&self.own, &1u64.to_ne_bytes());
    }

    /// Keeps the descriptor that [`Self::remind`] makes readable out of the `epoll`, for who polls both: one `epoll` less to go through.
    #[must_use]
    pub fn part(&self) -> BorrowedFd<'_> {
        self.remove(&self.own);
        self.own.as_fd()
    }

    /// The descriptor that [`Self::remind`] makes readable.
    #[must_use]
    pub fn own(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    /// Ends what [`Self::part`] began.
    pub fn rejoin(&self) -> Result<()> {
        self.add(&self.own, OWN, "a wait set")
    }

    /// Ends what [`Self::remind`] began.
    pub fn forget(&self) {
        let _ = rustix::io::read(&self.own, &mut [0; 8]);
    }

    /// Tells of that descriptor by `key`, while it is readable or has failed.
    pub fn add(&self, descriptor: impl AsFd, key: u64, what: &str) -> Result<()> {
        epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(key), READABLE)
            .map_err(|errno| Error::system("watch", what, errno))
    }

    /// Tells of the program's descriptor by `key` once it is readable or has failed, and is silent then until [`Self::renew`]: what is told
    /// of one that the program has closed, and that another process still has, cannot be taken back, and so it is told once.
    ///
    /// One that was removed while its number stood for another file is here still, and told by the new key from now on.
    pub fn add_once(&self, descriptor: impl AsFd, key: u64, what: &str) -> Result<()> {
        match epoll::add(&self.epoll, &descriptor, epoll::EventData::new_u64(key), ONCE) {
            Err(Errno::EXIST) if self.renew(&descriptor, key) => Ok(()),
            added => added.map_err(|errno| Error::system("watch", what, errno)),
        }
    }

    /// Tells of it once more; false if it is not what was added any more: it was closed, and its number may be another's.
    pub fn renew(&self, descriptor: impl AsFd, key: u64) -> bool {
        epoll::modify(&self.epoll, descriptor, epoll::EventData::new_u64(key), ONCE).is_ok()
    }

    /// Tells of it no more. One that was closed is gone already.
    pub fn remove(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Sleeps until one is readable at least, or until that time; 0 looks.
    pub fn wait(&self, until: u64) -> Result<Polled> {
        let mut events = Vec::with_capacity(AT_ONCE);
        let time = timespec(until.saturating_sub(clock::monotonic()));
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&time)) {
            Ok(_) => Ok(Polled::Keys(events.iter().map(|event| event.data.u64()).collect())),
            Err(Errno::INTR) => Ok(Polled::Interrupted),
            Err(errno) => Err(Error::system("epoll_wait", "a wait set", errno)),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn timespec(nanoseconds: u64) -> Timespec {
    Timespec { tv_sec: (nanoseconds / SECOND).cast_signed(), tv_nsec: (nanoseconds % SECOND).cast_signed() }
}

/// A descriptor that is readable once a time has come.
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl Alarm {
    /// One that is not set.
    pub fn new() -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags);
        timer.map(Self).map_err(|errno| Error::system("create", "a timer", errno))
    }

    /// Rings once, after so many nanoseconds.
    pub fn set(&self, after: u64) -> Result<()> {
        let times = Itimerspec { it_interval: timespec(0), it_value: timespec(after.max(1)) };
        let set = rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &times);
        set.map(drop).map_err(|errno| Error::system("set", "a timer", errno))
    }

    /// Forgets that it rang.
    pub fn forget(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Refuses a number under which no file is open, before a new descriptor gets it.
pub fn refuse_closed(descriptor: impl AsFd, what: &str) -> Result<()> {
    rustix::io::fcntl_getfd(descriptor).map(drop).map_err(|errno| Error::system("watch", what, errno))
}

/// A descriptor that is readable once that process has ended; none if it is not seen from here.
#[must_use]
pub fn end_of(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(pid.cast_signed())?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}
