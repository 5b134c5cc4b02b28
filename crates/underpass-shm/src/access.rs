//! Who is let in: the directory of a space, its owner, its mode, and the group that shares it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::header::nonce;
use crate::space::LIVES_FILE;
use crate::{Error, Result};

/// The permission bits.
const PERMISSIONS: u32 = 0o777;
/// What is made in such a directory belongs to the directory's group.
const SET_GROUP: u32 = 0o2000;
/// The permissions of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Anybody makes files there, and removes only his own: `/tmp`.
const STICKY: u32 = 0o1000;
/// Who may use an object reads and writes it.
const SHARED: u32 = 0o666;

/// Whose directory a space may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// This user's, with a mode that allows at most this.
    Mine(u32),
    /// Of anybody in this group, all of whom have the owner's rights: mode, group.
    Group(u32, u32),
    /// As it is found: for a handle that came from somebody who had been let in. It is never made.
    Found,
}

impl Access {
    /// The mode of a new directory, and the most that an old one may allow.
    fn mode(self) -> u32 {
        match self {
            Self::Mine(mode) => mode,
            Self::Group(mode, _) => mode | (mode & 0o700) >> 3 | SET_GROUP,
            Self::Found => PERMISSIONS,
        }
    }
}

/// Opens the directory of a space, or makes it; and the mode that objects in it have.
pub fn open_directory(path: &Path, access: Access, what: &str) -> Result<(OwnedFd, Mode)> {
    match access {
        Access::Mine(mode) => make(path, mode, None, what)?,
        Access::Group(_, group) => make(path, access.mode(), Some(group), what)?,
        Access::Found => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let foreign = |why: String| Error::Foreign { what: what.into(), path: what.into(), why };
    let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => foreign("it is not a directory, or a symbolic link".into()),
        Errno::ACCESS => denied("open", what, what, rustix::fs::stat(path).ok().as_ref(), errno),
        Errno::NOENT => Error::NotFound { what: what.into(), path: what.into() },
        _ => Error::system("open", what, errno),
    })?;
    let status = rustix::fs::fstat(&directory).map_err(|errno| Error::system("stat", what, errno))?;
    let mode = check(&directory, &status, access, what)?;
    Ok((directory, mode))
}

/// Refuses a directory that gives another access than was asked for; the mode that objects in it have.
pub fn check(directory: impl AsFd, status: &Stat, access: Access, what: &str) -> Result<Mode> {
    let foreign = |why: String| Error::Foreign { what: what.into(), path: what.into(), why };
    let (found, me) = (status.st_mode & PERMISSIONS, rustix::process::geteuid().as_raw());
    let shared = status.st_mode & SET_GROUP != 0 && found & 0o070 == 0o070;
    match access {
        Access::Group(_, group) if status.st_gid != group => {
            return Err(foreign(format!("its group is gid {}, and gid {group} was asked for", status.st_gid)));
        }
        Access::Group(..) if !shared => {
            return Err(foreign(format!("its mode {found:04o} does not share it with its group: chmod 2770 it")));
        }
        Access::Found if shared && is_mine(status.st_gid) => {}
        Access::Mine(_) | Access::Found if status.st_uid != me => {
            let remedy = if shared {
                format!("pass group={} if you trust all who are in it", status.st_gid)
            } else {
                "pass another path, or let its owner make it anew with group=".into()
            };
            let owner = status.st_uid;
            return Err(foreign(format!("it belongs to uid {owner}, and this process runs as uid {me}: {remedy}")));
        }
        _ => {}
    }
    let (most, excess) = (access.mode() & PERMISSIONS, found & !access.mode());
    if excess != 0 {
        let remedy = if is_own(directory, status) {
            format!("chmod {most:o} it, or pass mode=0o{found:o}")
        } else {
            "it is no space, and others use it: pass a directory of the space's own, which is made".into()
        };
        return Err(foreign(format!("its mode {found:04o} allows more than {most:04o}: {remedy}")));
    }
    // What others were promised by the mode, they do not have.
    if access != Access::Found && most & !found & OTHERS != 0 {
        let (wanted, found) = (format!("mode=0o{most:o}"), format!("there with mode=0o{found:o}"));
        return Err(Error::Mismatch { what: what.into(), wanted, found });
    }
    Ok(Mode::from_raw_mode(found & SHARED))
}

/// The directory is a space, or may become one: nobody else keeps anything there.
fn is_own(directory: impl AsFd, status: &Stat) -> bool {
    if status.st_mode & STICKY != 0 {
        return false;
    }
    let Ok(mut entries) = rustix::fs::Dir::read_from(directory) else { return false };
    let mut names = std::iter::from_fn(|| entries.read()).flatten().map(|entry| entry.file_name().to_bytes().to_vec());
    let mut empty = true;
    names.any(|name| {
        empty &= matches!(&*name, b"." | b"..");
        name == LIVES_FILE.as_bytes()
    }) || empty
}

/// An error that says whose the file is, and who may change that.
#[must_use]
pub fn denied(doing: &'static str, what: &str, path: &str, status: Option<&Stat>, errno: Errno) -> Error {
    let Some(status) = status else { return Error::system(doing, what, errno) };
    let (owner, group, mode) = (status.st_uid, status.st_gid, status.st_mode & PERMISSIONS);
    let me = rustix::process::geteuid().as_raw();
    let remedy = match rustix::fs::FileType::from_raw_mode(status.st_mode) {
        rustix::fs::FileType::Directory => "its owner can make it anew with group=; or pass another path".into(),
        _ => format!("its owner can create it with mode=0o660 in a space with group=, or chmod {:o} it", mode | 0o060),
    };
    let why = format!(
        "it belongs to uid {owner}, gid {group}, with mode {mode:04o}, and this process runs as uid {me}: {remedy}"
    );
    Error::Foreign { what: what.into(), path: path.into(), why }
}

/// Gives a new file the mode that was asked for: the umask may have taken some of it.
pub fn let_in(file: &OwnedFd, mode: Mode, what: &str) -> Result<()> {
    if !mode.intersects(Mode::RWXG | Mode::RWXO) {
        return Ok(());
    }
    rustix::fs::fchmod(file, mode).map_err(|errno| Error::system("chmod", what, errno))
}

fn is_mine(group: u32) -> bool {
    rustix::process::getegid().as_raw() == group
        || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|gid| gid.as_raw() == group))
}

/// Makes the directory, unless it is there. It appears with its group and mode: nobody meets it half made.
fn make(path: &Path, mode: u32, group: Option<u32>, what: &str) -> Result<()> {
    let failed = |doing| move |errno| Error::system(doing, what, errno);
    if rustix::fs::lstat(path).is_ok() {
        return Ok(());
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{:016x}", nonce()));
    let parent = path.parent().unwrap_or(path);
    rustix::fs::mkdir(&fresh, Mode::RWXU).map_err(|errno| match errno {
        Errno::NOENT if parent.is_dir() => {
            let why = format!("{} takes no directories: pass a path on a tmpfs, as in /dev/shm", parent.display());
            Error::Foreign { what: what.into(), path: what.into(), why }
        }
        Errno::NOENT => Error::Homeless { what: what.into(), parent: missing(parent).display().to_string() },
        Errno::NOTDIR => {
            let why = format!("a directory above it, {}, is none", file_above(parent).display());
            Error::Foreign { what: what.into(), path: what.into(), why }
        }
        _ => match rustix::fs::open(parent, OFlags::PATH, Mode::empty()) {
            Ok(parent) => Error::making("create", what, parent, errno),
            Err(_) => Error::system("create", what, errno),
        },
    })?;
    let named = (|| {
        if let Some(group) = group {
            rustix::fs::chown(&fresh, None, Some(rustix::process::Gid::from_raw(group))).map_err(
                |errno| match errno {
                    Errno::PERM => Error::Foreign {
                        what: what.into(),
                        path: what.into(),
                        why: format!("this process is not in the group with gid {group}"),
                    },
                    _ => Error::system("give to its group", what, errno),
                },
            )?;
        }
        rustix::fs::chmod(&fresh, Mode::from_raw_mode(mode)).map_err(failed("chmod"))?;
        match rustix::fs::renameat_with(CWD, &fresh, CWD, path, RenameFlags::NOREPLACE) {
            Err(errno) if errno != Errno::EXIST => Err(failed("create")(errno)),
            other => Ok(other.is_ok()),
        }
    })();
    if !matches!(named, Ok(true)) {
        // Somebody else was faster, or it cannot be made.
        let _ = rustix::fs::rmdir(&fresh);
    }
    named.map(drop)
}

/// The first directory on the way there that does not exist.
fn missing(parent: &Path) -> &Path {
    parent.ancestors().take_while(|path| !path.exists()).last().unwrap_or(parent)
}

/// What is a file on the way there.
fn file_above(parent: &Path) -> &Path {
    parent.ancestors().find(|path| path.exists()).unwrap_or(parent)
}
