//! What goes: a name, what the dead left, the whole directory.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{SOCKET, Space, creator_of, errno_of, file_name, object_name};
use crate::life::Life;
use crate::{Error, Result};

/// How often a directory is emptied that does not stay empty.
const REMOVALS: u32 = 1000;

impl Space {
    /// Removes a file. Who has the object mapped keeps it. Names are freed within [`Self::exclusively`].
    pub fn unlink(&self, file: &str) -> Result<()> {
        rustix::fs::unlinkat(self.directory()?, file, AtFlags::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::NotFound { what: self.describe(&object_name(file)), path: self.path_of(file) },
            Errno::ACCESS | Errno::PERM => self.denied("unlink", file, errno),
            _ => Error::system("unlink", self.describe(&object_name(file)), errno),
        })
    }

    /// Removes the name of that object, unless it is another's by now.
    ///
    /// Looks and removes in one turn, and all who free a name take turns, so it cannot become another's in between.
    pub fn unlink_own(&self, file: &str, nonce: u64) -> Result<()> {
        self.exclusively(|| match self.header_of(file) {
            Ok(header) if header.nonce == nonce => self.unlink(file),
            Ok(_) => {
                let named = self.describe(&object_name(file));
                let what = format!("{named} is another object's name by now: the one of this handle");
                Err(Error::NotFound { what, path: self.path_of(file) })
            }
            Err(error) => Err(error),
        })
    }

    /// Removes a name, whatever has it.
    pub fn unlink_name(&self, name: &str) -> Result<()> {
        self.exclusively(|| self.unlink(&file_name(name)))
    }

    /// Removes the anonymous objects and the sockets of dead processes, and tells the objects' names.
    pub fn sweep(&self) -> Result<Vec<String>> {
        self.lives.keep()?;
        self.sweep_of(|creator| !self.lives.alive(creator))
    }

    /// Removes the anonymous objects and the sockets of this process too: at its end.
    pub fn sweep_mine(&self) -> Result<()> {
        let Some(me) = self.lives.claimed() else { return Ok(()) };
        self.sweep_of(|creator| creator == me || !self.lives.alive(creator)).map(drop)
    }

    fn sweep_of(&self, condemned: impl Fn(Life) -> bool) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        for file in self.files()? {
            let Some(creator) = creator_of(&file) else { continue };
            if condemned(creator) && self.unlink(&file).is_ok() && !file.starts_with(SOCKET) {
                swept.push(file);
            }
        }
        Ok(swept)
    }

    /// Removes the directory with all that is in it. Who enters meanwhile, or makes something, puts files where some were removed:
    /// these go as well, as long as it takes no more than [`REMOVALS`] times.
    pub fn remove(&self) -> Result<()> {
        let what = || self.path.display().to_string();
        for round in 0..REMOVALS {
            // Another's of that name by now is not this one.
            if !self.has_its_path() {
                return if round == 0 { Err(self.gone(what())) } else { Ok(()) };
            }
            match std::fs::remove_dir_all(&self.path).map_err(|error| errno_of(&error)) {
                Ok(()) => return Ok(()),
                // Another removes it at the same time, or somebody has put a file there.
                Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => std::thread::yield_now(),
                Err(errno) => return Err(Error::system("remove", what(), errno)),
            }
        }
        Err(Error::Inhabited { what: what(), rounds: REMOVALS })
    }

    /// What has its path is this directory.
    fn has_its_path(&self) -> bool {
        match (self.directory(), rustix::fs::stat(&self.path)) {
            (Ok(_), Ok(there)) => self.directory.is_file(there),
            _ => false,
        }
    }
}
