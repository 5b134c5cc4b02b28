//! Waiting until something is named in a space: inotify tells, and a look after the watch is set misses nothing.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, inotify};
use rustix::io::Errno;

use super::Space;
use crate::limits::Lack;
use crate::{Error, Result};

impl Space {
    /// Sleeps until something may have been named `file` here, or `patience` is over.
    pub fn await_name(&self, file: &str, patience: Duration) -> Result<()> {
        let directory = self.directory()?;
        self.await_news(patience, || rustix::fs::statat(directory, file, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// Sleeps until something is named here, or `patience` is over.
    pub fn await_change(&self, patience: Duration) -> Result<()> {
        self.await_news(patience, || false)
    }

    fn await_news(&self, patience: Duration, there: impl FnOnce() -> bool) -> Result<()> {
        let failed = |errno| Error::system("watch", self.path.display().to_string(), errno);
        let directory = self.directory()?;
        let limited = |errno| match Lack::of_watches(errno, directory.as_fd()) {
            Some(lack) => Error::OutOfSpace { what: format!("waiting for a name in {}", self.path.display()), lack },
            None => failed(errno),
        };
        let news = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(limited)?;
        let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&news, &self.path, events).map_err(limited)?;
        // Looked for after the watch is set, so that a name that appears in between is not missed.
        if there() {
            return Ok(());
        }
        let time = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&news, PollFlags::IN)], Some(&time)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}
