//! `underpass.Peer`: a partner, as far as the kernel and the table of lives know it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use underpass_core::kernel::Kernel;
use underpass_core::port::Channel;
use underpass_core::site::Tenure;
use underpass_shm::life::Life;
use underpass_shm::socket::{Credentials, is_deserted};

use crate::handle::Handle;
use crate::site;

/// Who called, or who holds an object.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its process: of a caller in this pid namespace, by the kernel's word when it connected; of an owner in its own.
    #[pyo3(get)]
    pub pid: i32,
    /// Its thread; 0 if that is not known.
    #[pyo3(get)]
    pub tid: u32,
    /// Its user: of a caller by the kernel's word; of an owner as /proc shows it now, or else the space's.
    #[pyo3(get)]
    pub uid: u32,
    /// Its group, known as its user is.
    #[pyo3(get)]
    pub gid: u32,
    /// Of one that holds something: seconds for which it has, or at least has; None if that is not known.
    #[pyo3(get)]
    pub held_for: Option<f64>,
    /// Of one that holds something: the line on which it took it, as ``"worker.py:31"``; None if that was not written down.
    #[pyo3(get)]
    pub line: Option<String>,
    pub kernel: Arc<dyn Kernel>,
    pub life: Life,
    /// Of a caller that has no life here: what ends with its process.
    wire: Option<Arc<OwnedFd>>,
}

impl Peer {
    /// The process behind a port's channel, and the thread of it that it says calls.
    pub fn caller(port: &Handle, channel: &Channel, thread: Life) -> Self {
        let Credentials { pid, uid, gid } = channel.peer;
        let wire = channel.line.clone();
        // Somebody who has no life here could name the thread of another one.
        let tid = if wire.is_some() { 0 } else { port.tid(thread) };
        let (kernel, life) = (port.world().clone(), channel.client);
        Self { pid, tid, uid, gid, held_for: None, line: None, kernel, life, wire }
    }

    /// The thread that owns an object, or the process that holds a part of it, and what is known of since when.
    pub fn owner(handle: &Handle, thread: Life, pid: u32, tenure: &Tenure) -> Self {
        let tid = handle.tid(thread);
        // Whoever may write to a private space has its uid; /proc knows better where several users share one.
        let shown = if tid == 0 { None } else { fs::metadata(format!("/proc/{pid}/task/{tid}")).ok() };
        let shown = shown.or_else(|| fs::metadata(handle.place()).ok());
        let (uid, gid) = shown.map_or((0, 0), |status| (status.uid(), status.gid()));
        let held = tenure.since.map(|since| Duration::from_nanos(handle.kernel().now().saturating_sub(since)));
        Self {
            pid: pid.cast_signed(),
            tid,
            uid,
            gid,
            held_for: held.map(|held| held.as_secs_f64()),
            line: tenure.site.map(|site| site::text(&site)),
            kernel: handle.world().clone(),
            life: thread,
            wire: None,
        }
    }
}

#[pymethods]
impl Peer {
    /// True while it lives: the process that called, or the thread that owns.
    #[getter]
    fn alive(&self) -> bool {
        match &self.wire {
            Some(wire) => !is_deserted(wire),
            None => self.kernel.alive(self.life),
        }
    }

    fn __repr__(&self) -> String {
        let tid = if self.tid == 0 { String::new() } else { format!(", tid {}", self.tid) };
        format!("<Peer pid {}{tid}, uid {}, gid {}>", self.pid, self.uid, self.gid)
    }
}
