//! Spaces: the directories that objects live in.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use underpass_core::Kernel;
use underpass_core::linux::Linux;
use underpass_shm::Error as Shm;
use underpass_shm::access::Access;
use underpass_shm::forks;
use underpass_shm::header::Header;
use underpass_shm::life::Life;
use underpass_shm::space as shm;

use crate::error::from_shm;
use crate::handle::check_name;
use crate::host;
use crate::number::whole;
use crate::waits::{self, Waiter};

/// Where objects are files.
///
/// A directory of tmpfs with one file for each object, 0700 unless ``mode`` says more. ``ls`` shows what exists, file
/// permissions say who may, ``rm`` removes. All who may write to a space trust each other with liveness and crashes.
///
/// Args:
///     path: The directory; made if it is not there. Default: ``UNDERPASS_DIR``, or ``/dev/shm/underpass-<uid>``.
///     mode: Its permissions. An existing one has to have those of group and others that it names, and no more.
///     group: A group, by name or number, all of whose members share the space, whoever of them makes it: the directory
///         is setgid (2770), what is made in it has mode 0660. ``mode=0o600`` of an object keeps it to its owner.
///
/// Raises:
///     MismatchError: It is there with a mode that allows less.
///     AccessDeniedError: It belongs to somebody else or another group, allows more than ``mode``, or is a symbolic
///         link. The text names owner and remedy.
///     OutOfSpaceError: The file system is full, or another limit was reached.
///     NotFoundError: The directory above it does not exist. Or a pickled space, or a handle of it, arrives after the space was removed.
///
/// Example:
///     >>> import underpass
///     >>> space = underpass.Space.default()
///     >>> queue = underpass.Queue.create("doc/space", space=space)
///     >>> [info.name for info in space]
///     ['doc/space']
///     >>> queue.unlink()
#[pyclass(frozen, module = "underpass")]
#[derive(Debug, Clone)]
pub struct Space {
    pub linux: Arc<Linux>,
}

/// What a space tells about one of its objects: by the kernel's own tables, without opening it.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct ObjectInfo {
    /// The name; None for an anonymous object.
    name: Option<String>,
    /// Its class.
    kind: String,
    /// Bytes of its file.
    size: u64,
    /// The pid of the process that made it.
    creator: u32,
    /// The pids that have it mapped, in this pid namespace, as far as this user may see.
    attached: Vec<u32>,
    /// ``"alive"``, ``"orphaned"`` (its creator is dead) or ``"corrupted"``.
    state: String,
    /// The file's name in the directory.
    file: String,
}

#[pymethods]
impl ObjectInfo {
    fn __repr__(&self) -> String {
        let name = self.name.as_deref().unwrap_or(&self.file);
        format!("<ObjectInfo {} '{name}', {} bytes, {}>", self.kind, self.size, self.state)
    }
}

impl Space {
    /// The space at a directory, entered at most once per process.
    pub fn at(py: Python<'_>, path: &Path, access: Access) -> PyResult<Self> {
        static SPACES: Mutex<Option<HashMap<PathBuf, Space>>> = Mutex::new(None);
        let known = || {
            let unforked = forks::unforked();
            (SPACES.lock().unwrap_or_else(PoisonError::into_inner), unforked)
        };
        if let Some(space) = known().0.get_or_insert_default().get(path)
            && space.linux.space().is_at(path)
        {
            return Ok(space.clone());
        }
        let entered = shm::Space::enter(path, access).map_err(|error| from_shm(py, error))?;
        let space = Self { linux: Arc::new(Linux::new(entered, &host::Python)) };
        let (mut known, _unforked) = known();
        let spaces = known.get_or_insert_default();
        spaces.retain(|_, space| space.linux.space().still_there());
        spaces.insert(path.to_path_buf(), space.clone());
        Ok(space)
    }

    /// The space at a directory, for somebody who takes no part in it.
    pub fn look_at(py: Python<'_>, path: &Path) -> PyResult<Self> {
        let space = shm::Space::look(path).map_err(|error| from_shm(py, error))?;
        Ok(Self { linux: Arc::new(Linux::new(space, &host::Python)) })
    }

    /// The given space, or the default one.
    pub fn or_default(py: Python<'_>, space: Option<&Self>) -> PyResult<Self> {
        match space {
            Some(space) => Ok(space.clone()),
            None => Self::at(py, &default_path(), Access::Mine(0o700)),
        }
    }
}

/// Enter a space whose path came from another process, as it was found there.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "a path of Python's is converted")]
pub fn reenter(py: Python<'_>, path: PathBuf) -> PyResult<Space> {
    Space::at(py, &path, Access::Found)
}

/// The number of a group that was given by number or by name.
fn gid(group: &Bound<'_, PyAny>) -> PyResult<u32> {
    let Ok(name) = group.extract::<String>() else {
        let number = whole(group).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(group.py()) {
                PyTypeError::new_err(format!("group is a name, a number or None, not '{}'", group.get_type()))
            } else {
                error
            }
        })?;
        // The last one is the system's word for none.
        let number = u32::try_from(number).ok().filter(|gid| *gid != u32::MAX);
        return number.ok_or_else(|| PyValueError::new_err(format!("group={group} is no group's number")));
    };
    match group.py().import("grp")?.call_method1("getgrnam", (&name,)) {
        Ok(entry) => entry.getattr("gr_gid")?.extract(),
        Err(error) if error.is_instance_of::<PyKeyError>(group.py()) => {
            Err(PyValueError::new_err(format!("group='{name}' does not exist on this machine")))
        }
        Err(error) => Err(error),
    }
}

/// The path that was given, or the default one.
fn path_of(path: Option<PathBuf>) -> PyResult<PathBuf> {
    let Some(path) = path else { return Ok(default_path()) };
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err(PyValueError::new_err("'' cannot be a path: it is empty; pass none for the default one"));
    }
    if bytes.contains(&0) {
        return Err(PyValueError::new_err(format!("{} cannot be a path: it has a null byte", path.display())));
    }
    Ok(path)
}

fn default_path() -> PathBuf {
    match std::env::var_os("UNDERPASS_DIR") {
        Some(path) if !path.is_empty() => path.into(),
        _ => format!("/dev/shm/underpass-{}", shm::uid()).into(),
    }
}

#[pymethods]
impl Space {
    #[new]
    #[pyo3(signature = (path=None, *, mode=0o700, group=None))]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        #[pyo3(from_py_with = whole)] mode: i64,
        group: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mode = u32::try_from(mode).ok().filter(|mode| mode & !0o777 == 0 && mode & 0o700 == 0o700);
        let mode = mode.ok_or_else(|| {
            PyValueError::new_err("mode is not between 0o700 and 0o777: its owner reads, writes and enters a space")
        })?;
        let access = match group {
            None => Access::Mine(mode),
            Some(group) => Access::Group(mode, gid(group)?),
        };
        let space = Self::at(py, &path_of(path)?, access)?;
        // One that was entered before, perhaps with other arguments.
        space.linux.space().suits(access).map_err(|error| from_shm(py, error))?;
        Ok(space)
    }

    /// The space of objects that are made without ``space=``.
    #[staticmethod]
    fn default(py: Python<'_>) -> PyResult<Self> {
        Self::or_default(py, None)
    }

    /// The space at ``path``, to look at: nothing is made, claimed or swept, and it may belong to somebody else.
    ///
    /// It can be listed, its waits can be told, and what the dead left can be swept; its ports can be
    /// called (`Gate.open` with ``space=``), if they admit this user; its other objects cannot be opened, unless this
    /// process has entered it as well. What was looked at keeps one descriptor until this process ends.
    ///
    /// Args:
    ///     path: The directory. Default: ``UNDERPASS_DIR``, or ``/dev/shm/underpass-<uid>``.
    ///
    /// Raises:
    ///     NotFoundError: There is no space.
    ///     AccessDeniedError: This user may not read it.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> list(underpass.Space.look(underpass.Space.default().path))
    ///     []
    #[staticmethod]
    #[pyo3(signature = (path=None))]
    fn look(py: Python<'_>, path: Option<PathBuf>) -> PyResult<Self> {
        Self::look_at(py, &path_of(path)?)
    }

    /// The directory.
    #[getter]
    fn path(&self) -> String {
        self.linux.space().path().display().to_string()
    }

    /// The objects that exist now. Raises NotFoundError if the space was removed.
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let space = self.linux.space();
        let entries = space.entries().map_err(|error| from_shm(py, error))?;
        let attached = attached(&entries);
        let infos: Vec<ObjectInfo> = entries
            .into_iter()
            .filter_map(|entry| {
                let header: Option<Header> = match space.map(&entry.file) {
                    Ok((_, header)) => Some(header),
                    // Removed since the list was made.
                    Err(Shm::NotFound { .. }) => return None,
                    Err(_) => None,
                };
                let state = match &header {
                    Some(header) if space.lives().alive(Life(header.creator)) => "alive",
                    Some(_) => "orphaned",
                    None => "corrupted",
                };
                Some(ObjectInfo {
                    kind: header.as_ref().map_or("unknown", |header| header.kind.name()).into(),
                    creator: header.as_ref().map_or(0, |header| header.creator_pid),
                    attached: attached.get(&entry.inode).cloned().unwrap_or_default(),
                    state: state.into(),
                    size: entry.size,
                    name: entry.name,
                    file: entry.file,
                })
            })
            .collect();
        infos.into_pyobject(py)?.call_method0("__iter__")
    }

    /// Which threads sleep, and which tasks wait, in an operation on an object here, longest first: on what, since when, and who holds it.
    ///
    /// Read from the space alone, without stopping anybody; the dead are left out, by the kernel's word. Threads that wait for
    /// each other in a circle carry the number of their cycle. Tasks, those of `underpass.aio`, are told with name and line; of each
    /// thread 64, and how many more there are.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> underpass.Space.default().waits()
    ///     []
    fn waits(&self, py: Python<'_>) -> PyResult<Vec<Waiter>> {
        waits::survey(py, &self.linux)
    }

    /// Remove the anonymous objects of dead processes, and tell the names of their files. Also done by whoever enters.
    ///
    /// The sockets of their ports (``~…``), which are no objects, go as well and are not told.
    fn sweep(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.linux.space().sweep().map_err(|error| from_shm(py, error))
    }

    /// Remove the name of an object without opening it, whatever it is: also one that cannot be opened any more.
    ///
    /// Whoever has the object open keeps it. `SharedObject.unlink` of a handle removes the name only while it is that object's.
    ///
    /// Raises:
    ///     NotFoundError: Nothing has that name.
    ///     AccessDeniedError: This user may not remove from the space.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> changed = underpass.Event.create("doc/left-behind")
    ///     >>> underpass.Space.default().unlink("doc/left-behind")
    ///     >>> underpass.Event.create("doc/left-behind").unlink()
    fn unlink(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        check_name(name)?;
        free(py, || self.linux.space().unlink_name(name))
    }

    /// Remove the directory with all that is in it. Who has an object mapped keeps it.
    ///
    /// Whoever enters or makes objects meanwhile loses what it made, and is told so at its next operation on the space, or makes
    /// the directory anew, which then stays.
    ///
    /// Raises:
    ///     NotFoundError: It was removed already, or the directory of that name is another by now, which is left alone.
    ///     AccessDeniedError: This user may not remove it.
    ///     MisuseError: Others go on making objects in it, so it does not stay empty.
    fn remove(&self, py: Python<'_>) -> PyResult<()> {
        self.linux.space().remove().map_err(|error| from_shm(py, error))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((py.import("underpass._core")?.getattr("reenter")?, (self.path(),)))
    }

    fn __repr__(&self) -> String {
        if self.linux.space().lives().is_onlooker() {
            return format!("<Space {}, looked at>", self.path());
        }
        format!("<Space {}, pid {}>", self.path(), self.my_pid())
    }
}

/// Frees a name, without the interpreter: whoever frees another may have been stopped in the middle.
pub fn free(py: Python<'_>, name: impl Fn() -> Result<(), Shm> + Sync) -> PyResult<()> {
    loop {
        match py.detach(&name) {
            Err(error) if error.is_interruption() => py.check_signals()?,
            freed => return freed.map_err(|error| from_shm(py, error)),
        }
    }
}

impl Space {
    fn my_pid(&self) -> u32 {
        self.linux.me().map_or(0, |me| self.linux.pid(me.process))
    }
}

/// Which processes have which files mapped: what `/proc/*/maps` says, as far as this user may read it. Files are known
/// by device and inode: one that was mapped before it had a name has none there.
fn attached(entries: &[shm::Entry]) -> HashMap<u64, Vec<u32>> {
    let mut found: HashMap<u64, Vec<u32>> = entries.iter().map(|entry| (entry.inode, Vec::new())).collect();
    let device = entries.first().map(|entry| &entry.device);
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(maps) = std::fs::read_to_string(process.path().join("maps")) else { continue };
        for line in maps.lines() {
            let mut fields = line.split_ascii_whitespace().skip(3);
            let here = fields.next().is_some_and(|field| device.is_some_and(|device| device == field));
            let inode = fields.next().and_then(|field| field.parse::<u64>().ok());
            let Some(pids) = inode.and_then(|inode| found.get_mut(&inode)) else { continue };
            if here && pids.last() != Some(&pid) {
                pids.push(pid);
            }
        }
    }
    found
}
