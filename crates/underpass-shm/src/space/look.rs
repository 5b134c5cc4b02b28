//! A space as somebody sees it who does not take part: everything is mapped to be read only.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{ENTERED, LIVES_FILE, Space, Spaces, checked_size, errno_of};
use crate::descriptor::Descriptor;
use crate::header::{Header, Kind};
use crate::lives::Lives;
use crate::region::Region;
use crate::{Error, Result, forks};

/// Those that this process looks at, for ever: closing the table's file would end its life there, should it enter later.
static LOOKED_AT: Mutex<Option<Spaces>> = Mutex::new(None);

impl Space {
    /// The space at `path` for somebody who only looks: nothing is made, claimed or swept, and whose it is does not
    /// matter to those who may read it.
    pub fn look(path: &Path) -> Result<Arc<Self>> {
        let what = path.display().to_string();
        let path = std::path::absolute(path).map_err(|error| Error::system("find", &what, errno_of(&error)))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::NotFound { what: format!("a space at {what}"), path: what.clone() },
            _ => Error::system("open", &what, errno),
        })?;
        let status = rustix::fs::fstat(&directory).map_err(|errno| Error::system("stat", &what, errno))?;
        let key = (status.st_dev, status.st_ino);
        let _unforked = forks::unforked();
        let entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = entered.as_ref().and_then(|spaces| spaces.get(&key)).filter(|space| space.still_there()) {
            return Ok(space.clone());
        }
        let mut looked_at = LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner);
        let spaces = looked_at.get_or_insert_default();
        if let Some(space) = spaces.get(&key).filter(|space| space.still_there()) {
            return Ok(space.clone());
        }
        let lives = Arc::new(look_at_lives(&directory, &path.display().to_string())?);
        let directory = Descriptor::new(directory).map_err(|errno| Error::system("stat", &what, errno))?;
        let (mode, serial) = (Mode::empty(), AtomicU64::new(0));
        let space = Arc::new(Self { path, directory, mode, lives, serial });
        if let Some(gone) = spaces.insert(key, space.clone()) {
            std::mem::forget(gone);
        }
        drop(entered);
        Ok(space)
    }
}

/// Opens the table of lives of a space that is there, to read it.
fn look_at_lives(directory: &OwnedFd, space: &str) -> Result<Lives> {
    let what = format!("{space}/{LIVES_FILE}");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(directory, LIVES_FILE, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Error::NotFound { what: format!("a space at {space}"), path: what.clone() },
        _ => Error::system("open", &what, errno),
    })?;
    let region = Region::map_to_read(&file, checked_size(&file, &what)?, &what)?;
    let header = Header::read(&region, &what)?;
    header.expect(Kind::Lives, &what)?;
    Lives::look(&region, file, header.nonce, &what)
}
