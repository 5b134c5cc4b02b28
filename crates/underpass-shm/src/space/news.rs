//! What comes to a space while somebody listens: the directory's own notices, through inotify.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

use super::{ANONYMOUS, SOCKET, Space};
use crate::limits::Lack;
use crate::{Error, Result};

/// Bytes of notices that are read at once; the longest takes a name's 255 and a header's 16.
const AT_ONCE: usize = 4096;

/// Notices of what is named in a space since this was made.
#[derive(Debug)]
pub struct News {
    notices: OwnedFd,
    space: String,
}

impl Space {
    /// Listens from now on.
    pub fn news(&self) -> Result<News> {
        let space = self.path.display().to_string();
        let directory = self.directory()?;
        let limited = |errno| match Lack::of_watches(errno, directory.as_fd()) {
            Some(lack) => Error::OutOfSpace { what: format!("waiting for a name in {space}"), lack },
            None => Error::system("watch", &space, errno),
        };
        let notices = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(limited)?;
        inotify::add_watch(&notices, &self.path, WatchFlags::CREATE | WatchFlags::MOVED_TO).map_err(limited)?;
        Ok(News { notices, space })
    }

    /// Sleeps until something may have been named `file` here, or `patience` is over.
    pub fn await_name(&self, file: &str, patience: Duration) -> Result<()> {
        let news = self.news()?;
        // Looked for after the watch is set, so that a name that appears in between is not missed.
        if statat(self.directory()?, file, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Ok(());
        }
        news.wait(Some(patience)).map(drop)
    }

    /// Sleeps until something is named here, or `patience` is over.
    pub fn await_change(&self, patience: Duration) -> Result<()> {
        self.news()?.wait(Some(patience)).map(drop)
    }
}

impl AsFd for News {
    /// Readable while there are notices that nobody has taken.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

impl News {
    /// Sleeps until a file has come: true; or until `patience` is over or a signal comes.
    pub fn wait(&self, patience: Option<Duration>) -> Result<bool> {
        let time =
            patience.map(|time| Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() });
        match poll(&mut [PollFd::new(&self.notices, PollFlags::IN)], time.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    /// Takes the notices that have come; true if an object with a name is among what they tell of.
    pub fn take(&self) -> Result<bool> {
        let mut room = [MaybeUninit::uninit(); AT_ONCE];
        let mut notices = inotify::Reader::new(&self.notices, &mut room);
        let mut named = false;
        loop {
            match notices.next() {
                Ok(notice) => {
                    let file = notice.file_name().map_or(&[][..], |name| name.to_bytes());
                    named |= file.first().is_some_and(|first| !['.', SOCKET, ANONYMOUS].contains(&char::from(*first)));
                }
                Err(Errno::AGAIN) => return Ok(named),
                Err(errno) => return Err(self.failed(errno)),
            }
        }
    }

    fn failed(&self, errno: Errno) -> Error {
        Error::system("watch", &self.space, errno)
    }
}
