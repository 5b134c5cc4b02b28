//! Objects are files of a directory: born complete, named by `linkat`, removed by `unlinkat`, swept when their creator
//! is dead by the kernel's word.

mod look;
mod news;
mod removal;

use std::collections::HashMap;
use std::ffi::OsString;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::access::{self, Access};
use crate::descriptor::Descriptor;
use crate::error::Found;
use crate::header::{Header, Kind, PARAMETERS, nonce};
use crate::life::Life;
use crate::lives::{FORMER_TABLE_SIZES, Lives, TABLE_SIZE};
use crate::region::{Extent, Region};
use crate::room::{self, Meanwhile};
use crate::{Error, Result, forks};

pub use news::News;

/// The table's name; no object can have it, since names do not start with a dot.
pub const LIVES_FILE: &str = ".lives";
/// What separates the parts of a name stands as this in a directory, where `/` cannot.
const SEPARATOR: char = ':';
/// What an anonymous object's file name starts with; no user's name can.
const ANONYMOUS: char = '@';
/// What the file name of a socket starts with: a port's, or a bell's.
pub(crate) const SOCKET: char = '~';
/// Longest name, in characters.
pub const LONGEST_NAME: usize = 200;

/// A directory of objects whose writers trust each other.
#[derive(Debug)]
pub struct Space {
    path: PathBuf,
    directory: Descriptor,
    /// What objects are made with, unless they say otherwise.
    mode: Mode,
    lives: Arc<Lives>,
    serial: AtomicU64,
}

/// A new object that nobody sees yet.
#[derive(Debug)]
pub struct Newborn<'a> {
    space: &'a Space,
    file: OwnedFd,
    mode: Mode,
    name: String,
    /// Its bytes, zero but for the header.
    pub region: Arc<Region>,
    /// What was written there.
    pub header: Header,
}

/// What stands in the directory, without opening it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The file's name.
    pub file: String,
    /// The name its users know; none for an anonymous object.
    pub name: Option<String>,
    /// Bytes.
    pub size: u64,
    /// The file's device and inode: what `/proc/*/maps` names.
    pub device: String,
    /// See `device`.
    pub inode: u64,
}

/// Spaces by device and inode.
type Spaces = HashMap<(u64, u64), Arc<Space>>;

/// The spaces that this process has entered.
static ENTERED: Mutex<Option<Spaces>> = Mutex::new(None);

impl Space {
    /// Removes what this process leaves in every space that it has entered: at its end.
    pub fn leave_all() {
        let spaces: Vec<Arc<Self>> = {
            let _unforked = forks::unforked();
            let entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
            entered.iter().flat_map(HashMap::values).cloned().collect()
        };
        for space in spaces {
            if space.still_there() {
                let _ = space.sweep_mine();
            }
        }
    }

    /// Opens the space at `path`, makes it if it is not there and the access says so, and sweeps what the dead left.
    pub fn enter(path: &Path, access: Access) -> Result<Arc<Self>> {
        let what = path.display().to_string();
        // Handles carry the path to processes that work elsewhere, and this one may go elsewhere as well.
        let path = std::path::absolute(path).map_err(|error| Error::system("find", &what, errno_of(&error)))?;
        let (directory, mode) = access::open_directory(&path, access, &what)?;
        let status = rustix::fs::fstat(&directory).map_err(|errno| Error::system("stat", &what, errno))?;
        let key = (status.st_dev, status.st_ino);
        // Held while the table is opened: a second descriptor of it, closed, would drop this process's lock.
        let unforked = forks::unforked();
        let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
        let spaces = entered.get_or_insert_default();
        // Those that were removed keep their descriptors only as long as somebody here uses their objects.
        spaces.retain(|_, space| space.still_there());
        if let Some(space) = spaces.get(&key) {
            return Ok(space.clone());
        }
        let lives = Arc::new(open_lives(&directory, mode, &path.display().to_string())?);
        let space = Arc::new(Self {
            path,
            directory: Descriptor::new(directory).map_err(|errno| Error::system("stat", &what, errno))?,
            mode,
            lives,
            serial: AtomicU64::new(0),
        });
        spaces.insert(key, space.clone());
        drop((entered, unforked));
        space.lives.me()?;
        space.sweep()?;
        Ok(space)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who lives here.
    #[must_use]
    pub fn lives(&self) -> &Arc<Lives> {
        &self.lives
    }

    /// True while this is still the directory of that name.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        rustix::fs::stat(path).is_ok_and(|there| self.directory.is_file(there)) && self.still_there()
    }

    /// False when somebody removed the directory or its table.
    #[must_use]
    pub fn still_there(&self) -> bool {
        let directory = match self.directory() {
            Ok(directory) => directory,
            Err(error) => return !matches!(error, Error::Gone { .. }),
        };
        let table = rustix::fs::statat(directory, LIVES_FILE, AtFlags::SYMLINK_NOFOLLOW);
        table.is_ok_and(|status| self.lives.is_file(status))
    }

    /// Makes an object of `size` bytes that nobody sees until [`Newborn::publish`]. Without a name it is anonymous.
    /// Without a mode it has the space's. Its room is found by `meanwhile`.
    pub fn newborn(
        &self,
        name: Option<&str>,
        kind: Kind,
        extent: Extent,
        parameters: [u64; PARAMETERS],
        mode: Option<u32>,
        meanwhile: Meanwhile<'_>,
    ) -> Result<Newborn<'_>> {
        self.bear(name, kind, extent, parameters, mode, meanwhile).map_err(|error| self.blame(error))
    }

    fn bear(
        &self,
        name: Option<&str>,
        kind: Kind,
        extent: Extent,
        parameters: [u64; PARAMETERS],
        mode: Option<u32>,
        meanwhile: Meanwhile<'_>,
    ) -> Result<Newborn<'_>> {
        let me = self.lives.me()?;
        self.lives.keep()?;
        let directory = self.directory()?;
        let file_name = match name {
            Some(name) => file_name(name),
            None => format!("{ANONYMOUS}{:08x}-{:x}", me.process.0, self.serial.fetch_add(1, Relaxed)),
        };
        let what = self.describe(name.unwrap_or(&file_name));
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = mode.map_or(self.mode, Mode::from_raw_mode);
        let file = rustix::fs::openat(directory, ".", flags, mode)
            .map_err(|errno| Error::making("create", &what, directory, errno))?;
        access::let_in(&file, mode, &what)?;
        room::reserve(&file, 0..extent.reserved() as u64, &what, meanwhile)?;
        if extent.hole > 0 {
            rustix::fs::ftruncate(&file, extent.length as u64)
                .map_err(|errno| Error::system("lengthen", &what, errno))?;
        }
        let region = Region::map(&file, kind.mapped(extent.length), &what)?;
        let header = Header {
            kind,
            space: self.lives.nonce(),
            nonce: nonce(),
            creator: me.process.0,
            creator_pid: std::process::id(),
            parameters,
        };
        header.write(&region, &what)?;
        Ok(Newborn { space: self, file, mode, name: file_name, region, header })
    }

    /// Maps the object of that file name, after looking at its header.
    pub fn open(&self, file: &str, kind: Kind) -> Result<(Arc<Region>, Header)> {
        // A port is called by those, too, who can only read it: through memory of their own.
        if kind != Kind::Port {
            self.lives.check_resident()?;
        }
        let (region, header) = self.map(file)?;
        let what = self.describe(&object_name(file));
        header.expect(kind, &what)?;
        if header.space != self.lives.nonce() {
            return Err(Error::Mismatch {
                what,
                wanted: format!("an object of this space ({:016x})", self.lives.nonce()),
                found: format!("one of another space ({:016x}); remove it", header.space),
            });
        }
        Ok((region, header))
    }

    /// Maps a file of any kind.
    pub fn map(&self, file: &str) -> Result<(Arc<Region>, Header)> {
        let (opened, size, what) = self.open_file(file)?;
        let map = if self.lives.is_onlooker() { Region::map_to_read } else { Region::map };
        let region = map(&opened, size, &what)?;
        let header = Header::read(&region, &what)?;
        if header.kind.mapped(size) < size {
            return Ok((map(&opened, header.kind.mapped(size), &what)?, header));
        }
        Ok((region, header))
    }

    /// The header of a file of any kind, for who has no use for the rest: a copy, for which nothing is mapped.
    pub(super) fn header_of(&self, file: &str) -> Result<Header> {
        let (opened, _, what) = self.open_file(file)?;
        Header::copy(&opened, &what)
    }

    /// Opens a file that may be an object; its size, and what errors call it.
    fn open_file(&self, file: &str) -> Result<(OwnedFd, usize, String)> {
        let what = self.describe(&object_name(file));
        // Who only looks does not wait for the writer of a pipe that somebody put here.
        let access = if self.lives.is_onlooker() { OFlags::RDONLY | OFlags::NONBLOCK } else { OFlags::RDWR };
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened =
            rustix::fs::openat(self.directory()?, file, flags, Mode::empty()).map_err(|errno| match errno {
                Errno::NOENT => self.blame(Error::NotFound { what: what.clone(), path: self.path_of(file) }),
                Errno::ACCESS => self.denied("open", file, errno),
                _ => Error::system("open", &what, errno),
            })?;
        let status = rustix::fs::fstat(&opened).map_err(|errno| Error::system("stat", &what, errno))?;
        let size = usize::try_from(status.st_size).unwrap_or(0);
        if size < crate::header::WORDS {
            return Err(Error::Corrupted { what, why: format!("{size} bytes are too few for a header") });
        }
        Ok((opened, size, what))
    }

    /// Finds room for more bytes in the file of that object, if it still has its name; by `meanwhile`.
    pub fn lengthen(&self, file: &str, nonce: u64, bytes: Range<u64>, meanwhile: Meanwhile<'_>) -> Result<()> {
        let what = self.describe(&object_name(file));
        let missing = || Error::NotFound { what: format!("the name of {what}"), path: self.path_of(file) };
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened =
            rustix::fs::openat(self.directory()?, file, flags, Mode::empty()).map_err(|errno| match errno {
                Errno::NOENT => self.blame(missing()),
                Errno::ACCESS => self.denied("open", file, errno),
                _ => Error::system("open", &what, errno),
            })?;
        // The descriptor decides which object it is; whoever takes the name meanwhile has another file.
        let there = Header::copy(&opened, &what)?;
        if there.nonce != nonce {
            return Err(missing());
        }
        room::reserve(&opened, bytes, &what, meanwhile)
    }

    /// The user whom a file belongs to.
    #[must_use]
    pub fn owner_of(&self, file: &str) -> Option<u32> {
        rustix::fs::statat(self.directory().ok()?, file, AtFlags::SYMLINK_NOFOLLOW).ok().map(|status| status.st_uid)
    }

    /// True if the file of that name is here.
    pub fn exists(&self, file: &str) -> Result<bool> {
        match rustix::fs::statat(self.directory()?, file, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::system("look for", self.describe(&object_name(file)), errno)),
        }
    }

    fn denied(&self, doing: &'static str, file: &str, errno: Errno) -> Error {
        let look = |directory| rustix::fs::statat(directory, file, AtFlags::SYMLINK_NOFOLLOW).ok();
        let status = self.directory().ok().and_then(look);
        access::denied(doing, &self.describe(&object_name(file)), &self.path_of(file), status.as_ref(), errno)
    }

    /// What stands here now, the table of lives and sockets aside.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let (directory, files) = (self.directory()?, self.files()?);
        if !files.iter().any(|file| file == LIVES_FILE) {
            return Err(self.gone(self.path.display().to_string()));
        }
        for file in files {
            if file.starts_with(['.', SOCKET]) {
                continue;
            }
            let Ok(status) = rustix::fs::statat(directory, &file, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let name = (!file.starts_with(ANONYMOUS)).then(|| object_name(&file));
            let device = format!("{:02x}:{:02x}", rustix::fs::major(status.st_dev), rustix::fs::minor(status.st_dev));
            let size = status.st_size.cast_unsigned();
            entries.push(Entry { name, size, device, inode: status.st_ino, file });
        }
        entries.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(entries)
    }

    fn files(&self) -> Result<Vec<String>> {
        let what = self.path.display().to_string();
        let failed = |errno| Error::system("list", &what, errno);
        let mut files = Vec::new();
        for entry in Dir::read_from(self.directory()?).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            files.extend(OsString::from_vec(file).into_string());
        }
        Ok(files)
    }

    /// Runs `action` while nobody else does so in this space, in any thread of any process.
    pub fn exclusively<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<T> {
        let failed = |errno| Error::system("lock", self.path.display().to_string(), errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A descriptor of its own: the lock belongs to it, and goes with it or with the process.
        let turn = rustix::fs::openat(self.directory()?, ".", flags, Mode::empty()).map_err(failed)?;
        rustix::fs::flock(&turn, rustix::fs::FlockOperation::LockExclusive).map_err(failed)?;
        let done = action();
        // A child that was forked meanwhile has the descriptor, too.
        rustix::fs::flock(&turn, rustix::fs::FlockOperation::Unlock).map_err(failed)?;
        done
    }

    /// The directory. If the program closed its descriptor, it is opened again.
    pub fn directory(&self) -> Result<BorrowedFd<'_>> {
        match self.directory.intact() {
            Some(directory) => Ok(directory),
            None => self.directory_again(),
        }
    }

    #[cold]
    fn directory_again(&self) -> Result<BorrowedFd<'_>> {
        let what = self.path.display().to_string();
        let gone = || self.gone(what.clone());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => gone(),
            _ => Error::system("open", &what, errno),
        })?;
        let status = rustix::fs::fstat(&opened).map_err(|errno| Error::system("stat", &what, errno))?;
        if self.directory.is_file(status) {
            self.directory.replace(opened);
        }
        self.directory.intact().ok_or_else(gone)
    }

    /// Refuses it, entered already, to who asks for another access than it gives.
    pub fn suits(&self, access: Access) -> Result<()> {
        let what = self.path.display().to_string();
        let directory = self.directory()?;
        let status = rustix::fs::fstat(directory).map_err(|errno| Error::system("stat", &what, errno))?;
        access::check(directory, &status, access, &what).map(drop)
    }

    fn exists_already(&self, file: &str) -> Error {
        let found = self.map(file).ok().map(|(_, header)| {
            let alive = self.lives.alive(Life(header.creator));
            Found { kind: header.kind, pid: header.creator_pid, alive }
        });
        Error::Exists { what: self.describe(&object_name(file)), path: self.path_of(file), found }
    }

    /// Somebody removed it, with what was in it.
    fn gone(&self, what: String) -> Error {
        Error::Gone { what, path: self.path.display().to_string() }
    }

    /// Why something is not found or made here: the kernel's reason, unless somebody removed the space.
    #[must_use]
    pub fn blame(&self, error: Error) -> Error {
        match error {
            Error::System { what, .. } | Error::NotFound { what, .. } if !self.still_there() => self.gone(what),
            error => error,
        }
    }

    /// True if other users take part in it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.mode.intersects(Mode::WGRP | Mode::WOTH)
    }

    /// Where a file of this space is.
    #[must_use]
    pub fn path_of(&self, file: &str) -> String {
        self.path.join(file).display().to_string()
    }

    /// How errors call an object of this space.
    #[must_use]
    pub fn describe(&self, name: &str) -> String {
        format!("'{name}' in {}", self.path.display())
    }
}

impl Space {
    /// Lets those use a socket that may use the objects.
    pub(crate) fn share(&self, socket: &str) -> Result<()> {
        rustix::fs::chmodat(self.directory()?, socket, self.mode, AtFlags::empty())
            .map_err(|errno| Error::system("chmod", self.describe(socket), errno))
    }
}

impl<'s> Newborn<'s> {
    /// Where it will live.
    #[must_use]
    pub fn space(&self) -> &'s Space {
        self.space
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.name
    }

    /// Lets those use a file of this object, its socket, who may use the object; or anybody who reaches the directory.
    pub fn share(&self, file: &str, anybody: bool) -> Result<()> {
        let mode = if anybody { Mode::from_raw_mode(0o666) } else { self.mode };
        rustix::fs::chmodat(self.space.directory()?, file, mode, AtFlags::empty())
            .map_err(|errno| Error::system("chmod", self.space.describe(file), errno))
    }

    /// Gives the object its name: from here on it exists. With `replace` a dead object of that name makes room.
    pub fn publish(self, replace: bool) -> Result<String> {
        if replace {
            let _ = self.space.unlink(&self.name);
        }
        let source = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
        let directory = self.space.directory()?;
        let linked = rustix::fs::linkat(rustix::fs::CWD, &source, directory, &self.name, AtFlags::SYMLINK_FOLLOW);
        linked.map_err(|errno| match errno {
            Errno::EXIST => self.space.exists_already(&self.name),
            _ => {
                self.space.blame(Error::making("name", self.space.describe(&object_name(&self.name)), directory, errno))
            }
        })?;
        Ok(self.name)
    }
}

/// The file name of a port's socket: short, since a socket's address is.
#[must_use]
pub fn socket_name(port: &Header) -> String {
    format!("{SOCKET}{:08x}-{:x}", port.creator, port.nonce)
}

/// The user that this process acts as.
#[must_use]
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The group that this process acts as.
#[must_use]
pub fn gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The file name of a user's name, which was checked by [`check_name`].
#[must_use]
pub fn file_name(name: &str) -> String {
    name.replace('/', &SEPARATOR.to_string())
}

/// The user's name of a file name.
#[must_use]
pub fn object_name(file: &str) -> String {
    file.replace(SEPARATOR, "/")
}

/// Why `name` cannot be one, if so.
#[must_use]
pub fn check_name(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Some(format!("a name has 1 to {LONGEST_NAME} characters, and this has {}", name.chars().count()));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte)) {
        return Some("a name has ASCII letters, digits, '.', '_', '-' and single '/' only".into());
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some("no part of a name between '/' is empty, '.' or '..'".into());
    }
    name.starts_with('.').then(|| "a name does not start with '.'".into())
}

/// The process that made an anonymous object or a socket, as its file's name tells.
fn creator_of(file: &str) -> Option<Life> {
    let digits = file.strip_prefix([ANONYMOUS, SOCKET])?.split_once('-')?.0;
    u32::from_str_radix(digits, 16).ok().map(Life)
}

/// The size of a table of lives, refused if it is none.
fn checked_size(file: &OwnedFd, what: &str) -> Result<usize> {
    let size = rustix::fs::fstat(file).map_err(|errno| Error::system("stat", what, errno))?.st_size;
    let former = FORMER_TABLE_SIZES.iter().any(|former| *former as u64 == size.cast_unsigned());
    if former && rustix::fs::ftruncate(file, TABLE_SIZE as u64).is_ok() {
        // Made before it had all its parts: the others are zeroes at its end.
        return Ok(TABLE_SIZE);
    }
    if size.cast_unsigned() < TABLE_SIZE as u64 {
        return Err(Error::Corrupted { what: what.into(), why: format!("{size} bytes instead of {TABLE_SIZE}") });
    }
    Ok(TABLE_SIZE)
}

/// Opens the table of lives, or makes it: whoever names it first wins.
fn open_lives(directory: &OwnedFd, mode: Mode, what: &str) -> Result<Lives> {
    let what = format!("{what}/{LIVES_FILE}");
    let failed = |errno| Error::system("open", &what, errno);
    loop {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(directory, LIVES_FILE, flags, Mode::empty()) {
            Ok(file) => {
                let region = Region::map(&file, checked_size(&file, &what)?, &what)?;
                let header = Header::read(&region, &what)?;
                header.expect(Kind::Lives, &what)?;
                return Lives::new(&region, file, header.nonce, &what);
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let making = |errno| Error::making("create", &what, directory, errno);
        let file = rustix::fs::openat(directory, ".", flags, mode).map_err(making)?;
        access::let_in(&file, mode, &what)?;
        rustix::fs::ftruncate(&file, TABLE_SIZE as u64).map_err(failed)?;
        room::reserve(&file, 0..crate::lives::FIRST_BYTES, &what, &room::alone)?;
        let region = Region::map(&file, TABLE_SIZE, &what)?;
        Lives::format(&region, &file, &what)?;
        let header = Header {
            kind: Kind::Lives,
            space: 0,
            nonce: nonce(),
            creator: 0,
            creator_pid: std::process::id(),
            parameters: [0; PARAMETERS],
        };
        header.write(&region, &what)?;
        let source = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()));
        match rustix::fs::linkat(rustix::fs::CWD, &source, directory, LIVES_FILE, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(making(errno)),
        }
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
