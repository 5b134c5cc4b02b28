//! Scheduling points: who arrives at one, and the switch to whoever goes on from there.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use underpass_core::{Error, Result};
use underpass_lab::choice::{Object, Pending, Point, Task};
use underpass_lab::record::Manner;
use underpass_lab::schedule::Next;
use underpass_shm::region::Region;

use super::{CURRENT, LabKernel, locked};
use crate::error::plain;

/// Whom to switch to.
#[derive(Debug, Default)]
pub struct Greenlets {
    /// The `switch` of whoever explores.
    pub host: Option<Py<PyAny>>,
    /// The `switch` of each task.
    pub tasks: Vec<Py<PyAny>>,
    /// Is told of each scheduling point, where somebody looks on.
    pub observer: Option<Py<PyAny>>,
}

/// A look of one sleeper after the end of a schedule: can it go on?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nudge {
    #[default]
    None,
    /// It has been let look.
    Looking,
    /// It would sleep again.
    Sleeps,
}

impl LabKernel {
    /// A scheduling point of an operation that uses the object with that memory so.
    pub fn operate(&self, object: &Region, manner: Manner) -> Result<()> {
        let object = self.schedule().world.object_at(object.addresses().start);
        self.arrive(Pending { point: Point::Operation, object, manner })
    }

    /// A scheduling point. No lock is held here while others run.
    pub fn point(&self, point: Point, object: Option<Object>) -> Result<()> {
        self.arrive(Pending { point, object, manner: Manner::Change })
    }

    fn arrive(&self, pending: Pending) -> Result<()> {
        let Pending { point, object, .. } = pending;
        let task = {
            let schedule = self.schedule();
            let Some(task) = schedule.running() else { return Ok(()) };
            if !self.is_entered_here() {
                return Err(strange());
            }
            if schedule.is_over() {
                drop(schedule);
                return self.after_the_end(point);
            }
            task
        };
        self.observe(task, point, object)?;
        let next = self.schedule().arrive(pending);
        self.follow(next)
    }

    /// Has others go on, if they do.
    pub fn follow(&self, next: Next) -> Result<()> {
        match next {
            Next::Stay => Ok(()),
            Next::Switch(other) => self.switch(Some(other)),
            Next::Over => self.switch(None),
        }
    }

    /// The same where nobody expects an exception; false: it only unwinds, and ends at its next operation.
    pub fn quiet_point(&self, point: Point, object: Option<Object>) -> bool {
        // A destructor may run while an exception is on its way: it is kept.
        let raised = Python::attach(PyErr::take);
        let passed = self.point(point, object).is_ok();
        Python::attach(|py| {
            drop(PyErr::take(py));
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
        passed
    }

    /// The calling thread is the one whose greenlets are the processes.
    pub fn is_entered_here(&self) -> bool {
        CURRENT.with_borrow(|lab| lab.as_ref().is_some_and(|lab| std::ptr::eq(&raw const **lab, self)))
    }

    /// After the end of a schedule, lets one sleeper look once more: true if it then goes on with its program.
    pub fn nudge(&self, py: Python<'_>, task: Task) -> PyResult<bool> {
        self.schedule().world.disturb(task);
        self.schedule().set_running(Some(task));
        *locked(&self.nudge) = Nudge::Looking;
        let switch = self.greenlets().tasks.get(task.index()).map(|switch| switch.clone_ref(py));
        let switched =
            switch.map_or_else(|| Err(plain(py, "MisuseError", "the lab is not running")), |switch| switch.call0(py));
        self.schedule().set_running(None);
        let nudge = std::mem::take(&mut *locked(&self.nudge));
        switched.map(|_| nudge == Nudge::Looking)
    }

    /// A scheduling point of one who only unwinds, or looks once more.
    pub fn after_the_end(&self, point: Point) -> Result<()> {
        let nudge = *locked(&self.nudge);
        match (nudge, point) {
            (Nudge::None, _) => Err(unwinds()),
            // It passes on what it must on its way.
            (_, Point::Wake | Point::Woke) => Ok(()),
            (_, Point::Park) => {
                *locked(&self.nudge) = Nudge::Sleeps;
                self.switch(None)
            }
            (_, _) => self.switch(None),
        }
    }

    /// Tells whoever looks on.
    fn observe(&self, task: Task, point: Point, object: Option<Object>) -> Result<()> {
        if self.greenlets().observer.is_none() {
            return Ok(());
        }
        Python::attach(|py| {
            let Some(observer) = self.greenlets().observer.as_ref().map(|observer| observer.clone_ref(py)) else {
                return Ok(());
            };
            // What it does with the objects is no step of anybody.
            self.schedule().set_running(None);
            let told = observer.call1(py, (task.0, point_name(point), object.map(|object| object.0)));
            self.schedule().set_running(Some(task));
            told.map(drop).map_err(|error| {
                error.restore(py);
                Error::Interrupted
            })
        })
    }

    /// Lets a task go on, or the host; comes back when this one is to go on.
    fn switch(&self, task: Option<Task>) -> Result<()> {
        Python::attach(|py| {
            let switch = {
                let greenlets = self.greenlets();
                let switch = task.map_or(greenlets.host.as_ref(), |task| greenlets.tasks.get(task.index()));
                switch.map(|switch| switch.clone_ref(py))
            };
            let switched = switch
                .map_or_else(|| Err(plain(py, "MisuseError", "the lab is not running")), |switch| switch.call0(py));
            switched.map(drop).map_err(|error| {
                error.restore(py);
                Error::Interrupted
            })
        })
    }
}

/// Refuses a thread of the system.
pub fn strange() -> Error {
    Python::attach(|py| {
        let why = "it lives in the lab, which runs no threads of the system: start threads of its processes with world.thread";
        plain(py, "MisuseError", why).restore(py);
    });
    Error::Interrupted
}

/// Raises what unwinds a greenlet.
fn unwinds() -> Error {
    static EXIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Python::attach(|py| {
        let exit = EXIT.get_or_try_init(py, || Ok(py.import("greenlet")?.getattr("GreenletExit")?.unbind()));
        match exit.and_then(|exit| exit.bind(py).call0()) {
            Ok(value) => PyErr::from_value(value).restore(py),
            Err(error) => error.restore(py),
        }
    });
    Error::Interrupted
}

/// What a point is called in Python.
pub fn point_name(point: Point) -> &'static str {
    match point {
        Point::Start => "start",
        Point::Operation => "operation",
        Point::Park => "park",
        Point::Awake => "awake",
        Point::Wake => "wake",
        Point::Woke => "woke",
        Point::Line => "line",
    }
}
