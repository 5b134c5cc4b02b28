//! Who waits for whom, as Python sees it; and the warning of a thread that waits for long.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::Kernel;
use underpass_core::linux::{self, Held, Linux, StillWaiting};
use underpass_core::waits as core;
use underpass_shm::clock;

use crate::error::{Context, raise};
use crate::site;

/// The setting for programs that nobody wants to change.
const VARIABLE: &str = "UNDERPASS_WARN_WAITING";

/// One who must act before a waiter goes on: a thread that owns a lock, or a process that serves or works.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug, Clone)]
pub struct Holder {
    /// The process, as its own pid namespace counts.
    pid: u32,
    /// The thread; None if any thread of the process can do it.
    tid: Option<u32>,
    /// Seconds since it holds what is waited for; None if the object does not tell.
    held_for: Option<f64>,
    /// The line on which it took what is waited for, as ``"worker.py:31"``; None if that was not written down.
    line: Option<String>,
}

#[pymethods]
impl Holder {
    fn __repr__(&self) -> String {
        let tid = self.tid.map_or("None".into(), |tid| tid.to_string());
        let held_for = self.held_for.map_or("None".into(), |seconds| format!("{seconds:.3}"));
        format!("Holder(pid={}, tid={tid}, held_for={held_for})", self.pid)
    }
}

/// A thread that sleeps in an operation, or a task that waits in one, as `Space.waits` tells.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct Waiter {
    /// Its process, as its own pid namespace counts.
    pid: u32,
    /// The thread; of a task, the one that runs its event loop.
    tid: u32,
    /// The task's name, of which the first 64 bytes are told; None: it is the thread that sleeps.
    task: Option<String>,
    /// Where the task awaits, as ``"worker.py:31"``; None of a thread.
    line: Option<String>,
    /// Usually 0. Otherwise this row stands for so many tasks of the thread of which nothing else is known, since 64 have their
    /// rows: ``kind`` is empty then, and ``operation`` ``"await"``.
    more: u32,
    /// The object's name; None for an anonymous object, and for one whose name was removed.
    name: Option<String>,
    /// The object's file; None if it was removed.
    file: Option<String>,
    /// The object's class.
    kind: String,
    /// Of a wait for many, `wait_any`, `wait_all` and `select`: each of the objects, by class, name and file. Those whose
    /// file was removed are left out, and where they are of several spaces, all. Otherwise empty.
    members: Vec<(String, Option<String>, String)>,
    /// What the thread does there: ``"acquire"``, ``"get"``, ``"call"`` and so on; ``"lock"``: it waits for somebody who is
    /// in the middle of a step; ``"open"``: it waits for the name, of which the first 48 characters are told.
    operation: String,
    /// Seconds since it began to wait.
    waited_for: f64,
    /// Who holds what it waits for, oldest first; empty if anybody may help it.
    holders: Vec<Holder>,
    /// Waiters with one number, from 1 on, wait for each other in a circle, and none of them goes on by itself; None: not so.
    cycle: Option<usize>,
}

#[pymethods]
impl Waiter {
    fn __repr__(&self) -> String {
        let object = self.name.as_deref().or(self.file.as_deref()).unwrap_or("removed");
        let holders: Vec<_> = self.holders.iter().map(|holder| format!("pid {}", holder.pid)).collect();
        let held = if holders.is_empty() { String::new() } else { format!(", held by {}", holders.join(", ")) };
        let Self { pid, operation, kind, waited_for, .. } = self;
        let other = |(kind, name, file): &(String, Option<String>, String)| {
            format!(", {kind} '{}'", name.as_deref().unwrap_or(file))
        };
        let others: String = self.members.iter().skip(1).map(other).collect();
        if self.more > 0 {
            return format!("<Waiter pid {pid}: {} more tasks, for up to {waited_for:.1} s>", self.more);
        }
        if let Some(task) = &self.task {
            let line = self.line.as_ref().map_or_else(String::new, |line| format!(" ({line})"));
            return format!(
                "<Waiter pid {pid} task '{task}'{line} in {operation} of {kind} '{object}' for {waited_for:.1} s{held}>"
            );
        }
        format!("<Waiter pid {pid} in {operation} of {kind} '{object}'{others} for {waited_for:.1} s{held}>")
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds for people to read")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// The row that stands for tasks without one.
fn more(linux: &Linux, more: &core::More, now: u64) -> Waiter {
    let lives = linux.space().lives();
    Waiter {
        pid: lives.pid(more.process),
        tid: lives.tid(more.thread),
        task: None,
        line: None,
        more: more.count,
        name: None,
        file: None,
        kind: String::new(),
        members: Vec::new(),
        operation: "await".into(),
        waited_for: seconds(now.saturating_sub(more.since)),
        holders: Vec::new(),
        cycle: None,
    }
}

/// Everybody who sleeps in this space.
pub fn survey(py: Python<'_>, linux: &Linux) -> PyResult<Vec<Waiter>> {
    let space = linux.space();
    let what = space.path().display().to_string();
    let seen = py.detach(|| core::survey(space)).map_err(|error| raise(py, &Context::of(&what, "not read"), error))?;
    let (lives, now) = (space.lives(), clock::monotonic());
    let (waiting, unknown) = (seen.waiters, seen.more);
    let waiters = waiting.into_iter().map(|waiter| Waiter {
        pid: lives.pid(waiter.process),
        tid: lives.tid(waiter.thread),
        line: waiter
            .task
            .as_ref()
            .filter(|task| !task.file.is_empty())
            .map(|task| format!("{}:{}", task.file, task.line)),
        task: waiter.task.map(|task| task.name),
        more: 0,
        name: waiter.wait.name.or_else(|| waiter.object.as_ref().and_then(|entry| entry.name.clone())),
        file: waiter.object.map(|entry| entry.file),
        kind: waiter.wait.kind.name().into(),
        members: waiter
            .members
            .into_iter()
            .map(|(kind, entry)| (kind.name().to_owned(), entry.name, entry.file))
            .collect(),
        operation: waiter.wait.operation.verb(waiter.wait.kind).into(),
        waited_for: seconds(now.saturating_sub(waiter.wait.since)),
        holders: waiter
            .holders
            .into_iter()
            .map(|holder| Holder {
                pid: linux.pid(holder.life),
                tid: (!holder.life.is_process()).then(|| lives.tid(holder.life)),
                held_for: holder.since.map(|since| seconds(now.saturating_sub(since))),
                line: holder.site.map(|site| site::text(&site)),
            })
            .collect(),
        cycle: waiter.cycle.map(|number| number + 1),
    });
    Ok(waiters.chain(unknown.iter().map(|one| more(linux, one, now))).collect())
}

/// Have every thread of this process that waits for longer than that say so in a log record; None turns it off.
///
/// A thread that is blocked in one call of an object for ``seconds`` logs what it waits for and who holds it, as a WARNING
/// of the logger ``"underpass"``, and again after twice that time, four times, and so on. The thread that waits does so
/// itself, between two sleeps, and then waits on; if a logging handler raises, the call ends with its exception.
/// Programs that nobody wants to change are told by ``UNDERPASS_WARN_WAITING=seconds`` in the environment.
///
/// Args:
///     seconds: More than 0. Or None.
///
/// Returns:
///     What was set before.
///
/// Raises:
///     ValueError: ``seconds`` is not a time.
///
/// Example:
///     >>> import underpass
///     >>> before = underpass.warn_waiting(5)
///     >>> underpass.warn_waiting(before)
///     5.0
#[pyfunction]
#[pyo3(signature = (seconds, /))]
pub fn warn_waiting(seconds: Option<f64>) -> PyResult<Option<f64>> {
    let interval = match seconds {
        None => u64::MAX,
        Some(time) => interval(time).ok_or_else(|| {
            PyValueError::new_err(format!("seconds={time} is not a time: pass more than 0, or None to turn it off"))
        })?,
    };
    let before = linux::set_warn_after(interval);
    Ok((before != u64::MAX).then(|| self::seconds(before)))
}

/// Does what the environment says.
pub fn warn_as_told() -> PyResult<()> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(()) };
    let time = text.to_str().and_then(|text| text.trim().parse().ok()).and_then(interval);
    let time = time.ok_or_else(|| {
        PyValueError::new_err(format!(
            "{VARIABLE}={} is not a time: set it to seconds > 0, or unset it",
            text.display()
        ))
    })?;
    linux::set_warn_after(time);
    Ok(())
}

fn interval(seconds: f64) -> Option<u64> {
    let interval = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())?;
    u64::try_from(interval.as_nanos()).ok()
}

/// One who holds what is waited for, as errors call it: the thread, where it took it, and for how long it has it.
fn held(held: &Held) -> String {
    let pid = held.pid;
    let who = match held.tid {
        Some(tid) if held.is_here => format!("thread {tid} of this process"),
        Some(tid) if tid != pid => format!("pid {pid} (thread {tid})"),
        _ => format!("pid {pid}"),
    };
    let place = held.site.map_or_else(String::new, |site| format!(" ({})", site::text(&site)));
    let time = held.time.map_or_else(String::new, |time| format!(" for {:.1} s", seconds(time)));
    who + &place + &time
}

/// Logs that the calling thread waits.
pub fn log(py: Python<'_>, waiting: &StillWaiting<'_>) -> PyResult<()> {
    let holders: Vec<_> = waiting.holders.iter().map(held).collect();
    let holders = if holders.is_empty() { String::new() } else { format!(", held by {}", holders.join(", ")) };
    let (object, verb) = (&waiting.object, waiting.verb);
    let text = format!("still waiting for {object} for {:.1} s ({verb}){holders}", seconds(waiting.waited));
    let logger = py.import("logging")?.call_method1("getLogger", ("underpass",))?;
    logger.call_method1("warning", ("%s", text)).map(drop)
}
