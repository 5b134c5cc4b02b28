//! The one conversion from an error below to an exception of `underpass.errors`.

use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};
use underpass_core::Error;
use underpass_core::barrier::{Break, Cause};
use underpass_core::error::Phase;
use underpass_core::mutex::Death;
use underpass_shm::Error as Shm;
use underpass_shm::Found;
use underpass_shm::header::Kind;
use underpass_shm::limits::Lack;

/// What an operation was, for the text of its error.
pub struct Context<'a> {
    /// The object, as `queue 'jobs'`.
    pub object: &'a str,
    /// What was not done, as `not acquired`.
    pub failed: &'a str,
    /// How long it was tried, as `within 0.5 s`.
    pub time: String,
    /// More that helps, as the holder; may be empty.
    pub detail: String,
}

impl<'a> Context<'a> {
    /// Of an operation without a time or details.
    pub fn of(object: &'a str, failed: &'a str) -> Self {
        Self { object, failed, time: "in time".into(), detail: String::new() }
    }
}

/// Does what may wait, and so run signal handlers, where nobody can be told of it: an exception that is under way and one that a
/// handler raises do not meet.
pub fn apart(py: Python<'_>, action: impl FnOnce()) {
    let under_way = PyErr::take(py);
    action();
    drop(PyErr::take(py));
    if let Some(error) = under_way {
        error.restore(py);
    }
}

/// An exception of `underpass.errors`.
pub fn exception<'py>(
    py: Python<'py>,
    class: &str,
    message: &str,
    fill: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<()>,
) -> PyErr {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let build = || {
        let module = ERRORS.get_or_try_init(py, || PyModule::import(py, "underpass.errors").map(Bound::unbind))?;
        let attributes = PyDict::new(py);
        fill(&attributes)?;
        let value = module.bind(py).getattr(class)?.call((message,), Some(&attributes))?;
        Ok::<_, PyErr>(PyErr::from_value(value))
    };
    build().unwrap_or_else(|error| error)
}

/// True for an exception of that class of `underpass.errors`.
pub fn is(py: Python<'_>, error: &PyErr, class: &str) -> bool {
    error.get_type(py).name().is_ok_and(|name| name == class)
}

/// An exception without attributes.
pub fn plain(py: Python<'_>, class: &str, message: &str) -> PyErr {
    exception(py, class, message, |_| Ok(()))
}

/// Says what happened, to what, and what helps.
pub fn raise(py: Python<'_>, context: &Context<'_>, error: Error) -> PyErr {
    let Context { object, failed, time, detail } = context;
    let more = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    // What is in the way tells best what helps; where nothing is known of it, the text says so in general.
    match error {
        Error::WouldBlock => plain(
            py,
            "WouldBlock",
            &format!(
                "{object} {failed} without waiting{more}{}",
                if more.is_empty() { "; the same operation without _nowait waits" } else { "" }
            ),
        ),
        Error::TimedOut(phase) => {
            let told = match phase {
                Phase::Wait if more.is_empty() => "; try again, or allow more time",
                Phase::Wait => "",
                Phase::Send => "; the server has not taken it, so nothing happened",
                Phase::Receive => "; the server has taken it and may have acted",
            };
            let message = format!("{object} {failed} {time}{more}{told}");
            exception(py, "TimedOut", &message, |attributes| attributes.set_item("phase", name_of(phase)))
        }
        Error::EndOfStream => plain(
            py,
            "EndOfStream",
            &format!("{object} {failed}: it was shut down, or its last registered putter left; nothing more will come"),
        ),
        Error::Closed => {
            plain(py, "ClosedError", &format!("{object} {failed}: this handle was closed here; open it anew to use it"))
        }
        Error::Reset => plain(
            py,
            "ResetError",
            &format!(
                "{object} {failed}: it was reset or purged while this call waited, or the call sent away; it may be tried again"
            ),
        ),
        Error::Overwritten(number) => plain(
            py,
            "ResetError",
            &format!(
                "{object} {failed}: message {number} was overwritten while it was read in place, and what was seen of it is worth \
                 nothing; get() copies, a larger capacity leaves more time, and when_full='wait' overwrites nothing that is read"
            ),
        ),
        Error::Misuse(why) => plain(py, "MisuseError", &format!("{object} {failed}: {why}")),
        Error::Invalid(why) => PyValueError::new_err(format!("{object}: {why}")),
        Error::PeerDied { pid, phase } => peer_died(py, context, pid, phase),
        Error::OwnerDied(death) => owner_died(py, context, &death, &format!("pid {}, died", death.pid)),
        Error::Broken(broken) => broken_barrier(py, context, broken),
        Error::NotOwner => plain(py, "MisuseError", &format!("{object} {failed}{more}")),
        Error::Aborted => plain(
            py,
            "CallAbortedError",
            &format!(
                "{object} {failed}: the server gave it up without a reply, and may have acted; repeat only what may happen twice"
            ),
        ),
        Error::Cancelled => plain(
            py,
            "CallCancelledError",
            &format!(
                "{object} {failed}: its badge was revoked, or its gate closed, before the server took it, so nothing happened"
            ),
        ),
        Error::Denied { pid } => denied(py, context, pid, ["does not admit", "let its admit= say yes"]),
        Error::Barred { pid } => {
            let why = ["has a socket that is closed to", "make the port with admit=, which opens it to others"];
            denied(py, context, pid, why)
        }
        Error::TooLong { size, limit } => {
            let message = format!(
                "{object} {failed}: {size} bytes are more than its message_size of {limit}; create it with message_size={size} or more"
            );
            exception(py, "MessageTooLongError", &message, |attributes| {
                attributes.set_item("size", size)?;
                attributes.set_item("limit", limit)
            })
        }
        Error::Interrupted => PyErr::take(py)
            .unwrap_or_else(|| PyRuntimeError::new_err(format!("{object} {failed}: a signal handler raised nothing"))),
        Error::Refused => PyErr::take(py).unwrap_or_else(|| PyRuntimeError::new_err(format!("{object} {failed}"))),
        Error::Corrupted(why) => plain(
            py,
            "CorruptedError",
            &format!("{object} is corrupted: {why}; remove its name, Space.unlink(name), and create it anew"),
        ),
        Error::Shm(Shm::OutOfSpace { what, lack }) if what != *object => {
            out_of_space(py, &format!("{object} {failed}: {what} {lack}"), &lack)
        }
        Error::Shm(error) => from_shm(py, error),
    }
}

/// What `phase` of an error says.
fn name_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Wait => "wait",
        Phase::Send => "send",
        Phase::Receive => "receive",
    }
}

/// A mutex whose owner did not give it back: who that was, and whether it died or only its thread ended.
pub fn owner_died(py: Python<'_>, context: &Context<'_>, death: &Death, how: &str) -> PyErr {
    let Context { object, failed, detail, .. } = context;
    let more = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    let time = death.held.map_or(String::new(), |held| format!(" for at least {}", seconds(held)));
    let message = format!(
        "{object} {failed}: its owner, {how} while holding it{time}, so what it protects may be half changed{more}"
    );
    exception(py, "OwnerDiedError", &message, |attributes| {
        attributes.set_item("pid", death.pid)?;
        attributes.set_item("name", object.split_once(' ').map_or(*object, |(_, name)| name.trim_matches('\'')))?;
        attributes.set_item("held_for", death.held.map(|held| Duration::from_nanos(held).as_secs_f64()))
    })
}

/// The partner's end, and what it can have done by then.
fn peer_died(py: Python<'_>, context: &Context<'_>, pid: u32, phase: Phase) -> PyErr {
    let Context { object, failed, .. } = context;
    let told = match phase {
        Phase::Wait => "has died",
        Phase::Send => "has died or closed it, and had not taken it, so nothing happened",
        Phase::Receive => "has died or closed it, and may have acted, so repeat only what may happen twice",
    };
    let message = format!("{object} {failed}: its partner, pid {pid}, {told}; open it anew to reach a successor");
    exception(py, "PeerDiedError", &message, |attributes| {
        attributes.set_item("pid", pid)?;
        attributes.set_item("phase", name_of(phase))?;
        let label = object.rsplit_once(' ').map_or(*object, |(_, label)| label);
        attributes.set_item("name", label.trim_matches('\''))
    })
}

/// A barrier that nobody passes: who broke it.
fn broken_barrier(py: Python<'_>, context: &Context<'_>, broken: Break) -> PyErr {
    let Break { cause, pid } = broken;
    let (cause, how) = match cause {
        Cause::Aborted => ("aborted", "aborted it"),
        Cause::TimedOut => ("timed out", "waited there until its time was over"),
        Cause::Died => ("died", "had waited or joined, and has ended"),
    };
    let Context { object, failed, .. } = context;
    let message = format!("{object} {failed}: it is broken, since pid {pid} {how}; nobody passes until reset()");
    exception(py, "BrokenBarrierError", &message, |attributes| {
        attributes.set_item("cause", cause)?;
        attributes.set_item("pid", pid)
    })
}

/// A limit that was reached: which, and what makes room.
fn out_of_space(py: Python<'_>, message: &str, lack: &Lack) -> PyErr {
    exception(py, "OutOfSpaceError", message, |attributes| {
        attributes.set_item("need", lack.need)?;
        attributes.set_item("free", lack.free)?;
        attributes.set_item("limit", lack.limit)?;
        attributes.set_item("remedy", &lack.remedy)?;
        attributes.set_item("errno", lack.errno.raw_os_error())
    })
}

/// A server that does not let this process call: how, and the remedy.
fn denied(py: Python<'_>, context: &Context<'_>, pid: u32, [how, remedy]: [&str; 2]) -> PyErr {
    let Context { object, failed, detail, .. } = context;
    let (me, uid) = (std::process::id(), underpass_shm::space::uid());
    let owner = if detail.is_empty() { String::new() } else { format!(" of {detail}") };
    let message = format!(
        "{object} {failed}: its server, pid {pid}{owner}, {how} this process, pid {me} of uid {uid}: \
         run as its user, or {remedy}"
    );
    exception(py, "AccessDeniedError", &message, |attributes| attributes.set_item("filename", *object))
}

/// A time that was measured, for the texts of errors. Cut and not rounded, so that "at least" stays true.
pub fn seconds(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    let (whole, rest) = (milliseconds / 1_000, milliseconds % 1_000);
    if whole < 10 { format!("{whole}.{rest:03} s") } else { format!("{whole}.{} s", rest / 100) }
}

/// Says what the lowest layer found.
pub fn from_shm(py: Python<'_>, error: Shm) -> PyErr {
    // A handler raised while the system was at work.
    if error.is_interruption()
        && let Some(raised) = PyErr::take(py)
    {
        return raised;
    }
    match error {
        Shm::NotFound { what, path } => {
            exception(py, "NotFoundError", &format!("{what} does not exist"), |attributes| {
                attributes.set_item("filename", path)
            })
        }
        Shm::Gone { what, path } => {
            let text = format!("{what}: the space was removed; enter it anew, Space('{path}') makes it");
            exception(py, "NotFoundError", &text, |attributes| attributes.set_item("filename", path))
        }
        Shm::Inhabited { what, rounds } => plain(
            py,
            "MisuseError",
            &format!(
                "{what} is not removed: others go on entering it or making objects in it, {rounds} times by now, and what they made is \
                 gone; end them first, then remove it again"
            ),
        ),
        Shm::Homeless { what, parent } => {
            let text = format!(
                "{what} cannot be made: {parent} does not exist; make that first (mkdir -p), or pass another path"
            );
            exception(py, "NotFoundError", &text, |attributes| attributes.set_item("filename", what))
        }
        Shm::Exists { what, path, found } => {
            let (told, pid) = match found {
                Some(Found { kind: Kind::Port, pid, .. }) => (
                    format!(
                        ": pid {pid} receives there; end it first, or use another name (Gate.open calls what is there)"
                    ),
                    pid,
                ),
                Some(Found { kind, pid, alive }) => {
                    let state = if alive { "" } else { ", which has ended" };
                    (
                        format!(
                            ": {} {}, made by pid {pid}{state}; open it, or remove its name first, Space.unlink(name)",
                            kind.article(),
                            kind.name()
                        ),
                        pid,
                    )
                }
                None => (": open it, or remove its name first, Space.unlink(name)".into(), 0),
            };
            exception(py, "ExistsError", &format!("{what} exists already{told}"), |attributes| {
                attributes.set_item("pid", pid)?;
                attributes.set_item("filename", path)
            })
        }
        Shm::OutOfSpace { what, lack } => out_of_space(py, &format!("{what} {lack}"), &lack),
        Shm::MapFailed { what, errno } => {
            let text = format!("cannot map the memory of {what}: {errno}; look at this process's limits (ulimit -a)");
            plain(py, "MapFailedError", &text)
        }
        Shm::Corrupted { what, why } => plain(
            py,
            "CorruptedError",
            &format!("{what} is corrupted: {why}; remove it, Space.unlink(name), and create it anew"),
        ),
        Shm::Mismatch { what, wanted, found } => {
            let message = format!("{what} is {found}, and {wanted} was asked for: use another name, or what is there");
            exception(py, "MismatchError", &message, |attributes| {
                attributes.set_item("expected", wanted)?;
                attributes.set_item("found", found)
            })
        }
        Shm::Foreign { what, path, why } => {
            exception(py, "AccessDeniedError", &format!("{what} is refused: {why}"), |attributes| {
                attributes.set_item("filename", path)
            })
        }
        Shm::System { doing, what, errno } => {
            let class = match errno.raw_os_error() {
                libc_errno::EACCES | libc_errno::EPERM => "AccessDeniedError",
                _ => "",
            };
            let text = format!("cannot {doing} {what}: {errno}");
            if class.is_empty() {
                let code = errno.raw_os_error();
                PyErr::new::<pyo3::exceptions::PyOSError, _>((code, text))
            } else {
                exception(py, class, &text, |attributes| attributes.set_item("filename", what))
            }
        }
    }
}

mod libc_errno {
    pub const EPERM: i32 = 1;
    pub const EACCES: i32 = 13;
}
