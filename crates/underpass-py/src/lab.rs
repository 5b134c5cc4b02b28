//! `underpass._core.Lab`: schedules of simulated processes, for `underpass.lab`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::Kernel as _;
use underpass_core::held::Held;
use underpass_lab::choice::{Choice, Point, Process, Task};
use underpass_lab::record::End;
use underpass_lab::schedule::{Budget, Next, Schedule};
use underpass_lab::strategy::{
    self, Strategy,
    replay::{Follow, Replay},
};
use underpass_lab::token::{self, Word};
use underpass_lab::world::{Fate, Traits, World};
use underpass_shm::life::Life;

use crate::handle::reopen_in_lab;
use crate::kernel_lab::{self, LabKernel, point_name};

/// One choice of a schedule, as [`Lab::script`] tells it.
type Direction = (&'static str, u32, usize, Vec<u32>, &'static str, Option<u32>, Vec<u32>);

/// A lab kernel and its schedules: objects made while it is entered (``with lab:``) live in it.
#[pyclass(frozen, module = "underpass._core")]
#[derive(Debug)]
pub struct Lab {
    kernel: Arc<LabKernel>,
}

#[pymethods]
impl Lab {
    /// Schedules decided by a named strategy, or those that tokens describe.
    #[new]
    #[pyo3(signature = (strategy, seed, *, kills=0, faults=0, early=true, preemptions=None, steps=2000))]
    fn new(
        strategy: &str,
        seed: u64,
        kills: u32,
        faults: u32,
        early: bool,
        preemptions: Option<u32>,
        steps: usize,
    ) -> PyResult<Self> {
        let strategy = strategy::named(strategy, seed).ok_or_else(|| {
            PyValueError::new_err(format!(
                "no strategy is called '{strategy}': choose one of {}",
                strategy::NAMES.join(", ")
            ))
        })?;
        Ok(Self::over(strategy, Budget { kills, faults, early, preemptions, steps }))
    }

    /// The one schedule that a token describes; ``loosely``: what cannot be followed is left out.
    #[staticmethod]
    #[pyo3(signature = (token, *, loosely=false, steps=2000))]
    fn replay(token: &str, loosely: bool, steps: usize) -> PyResult<Self> {
        let words = token::decode(token)
            .ok_or_else(|| PyValueError::new_err(format!("'{token}' is not a schedule's token: copy it whole")))?;
        let follow = if loosely { Follow::Loosely } else { Follow::Exactly };
        let budget = Budget { kills: u32::MAX, faults: u32::MAX, early: true, preemptions: None, steps };
        Ok(Self::over(Box::new(Replay::new(words, follow)), budget))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        kernel_lab::enter(Some(slf.get().kernel.clone()));
        slf
    }

    #[expect(clippy::unused_self, reason = "a context manager")]
    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) {
        kernel_lab::enter(None);
    }

    /// Begin the next schedule, in an empty world; False: there is none. ``host`` switches to whoever explores.
    fn begin(&self, host: Py<PyAny>) -> bool {
        self.kernel.greenlets().host = Some(host);
        self.kernel.begin()
    }

    /// Add a process.
    fn add_process(&self, mortal: bool, servant: bool) -> u32 {
        self.kernel.schedule().world.add_process(Traits { mortal, servant }).0
    }

    /// Add a thread of a process; ``switch`` lets it run.
    fn add_task(&self, process: u32, switch: Py<PyAny>) -> PyResult<u32> {
        let mut schedule = self.kernel.schedule();
        if schedule.world.processes().all(|known| known.0 != process) {
            return Err(PyValueError::new_err(format!("there is no process {process}")));
        }
        self.kernel.greenlets().tasks.push(switch);
        Ok(schedule.world.add_task(Process(process)).0)
    }

    /// Say whose turn it is; None: the schedule has ended.
    fn advance(&self) -> Option<u32> {
        let mut schedule = self.kernel.schedule();
        match schedule.advance() {
            Next::Stay => schedule.running().map(|task| task.0),
            Next::Switch(task) => Some(task.0),
            Next::Over => {
                schedule.set_running(None);
                None
            }
        }
    }

    /// Note that a task has returned.
    fn finish(&self, task: u32) {
        self.kernel.schedule().finish(Task(task));
    }

    /// Cut the schedule short: what was looked for is found.
    fn fail(&self) {
        self.kernel.schedule().fail();
    }

    /// End the schedule, and tell the strategy; how it ended.
    fn end(&self, failed: bool) -> &'static str {
        let mut schedule = self.kernel.schedule();
        schedule.set_running(None);
        match schedule.end(failed) {
            End::Open => "open",
            End::Done => "done",
            End::Deadlock => "deadlock",
            End::Livelock => "livelock",
            End::Pruned => "pruned",
            End::Failed => "failed",
        }
    }

    /// Say who runs from here on, while what is left of a schedule unwinds.
    fn set_running(&self, task: Option<u32>) {
        self.kernel.schedule().set_running(task.map(Task));
    }

    /// After the end of a schedule, let one sleeper look once more, without a cause: True if it can then go on.
    fn nudge(&self, py: Python<'_>, task: u32) -> PyResult<bool> {
        self.kernel.nudge(py, Task(task))
    }

    /// A scheduling point of the program's own: others may go on.
    fn step(&self, py: Python<'_>) -> PyResult<()> {
        self.kernel.point(Point::Line, None).map_err(|_| PyErr::fetch(py))
    }

    /// A scheduling point before a line of the program; whatever the line uses, other lines may use too.
    fn line(&self, py: Python<'_>) -> PyResult<()> {
        self.kernel.point(Point::Line, None).map_err(|_| PyErr::fetch(py))?;
        self.kernel.schedule().run_line();
        Ok(())
    }

    /// Have this time, in nanoseconds of the clock, come at any point before the running task sleeps; None: nothing is due.
    fn set_alarm(&self, time: Option<u64>) {
        let mut schedule = self.kernel.schedule();
        if let Some(task) = schedule.running() {
            schedule.world.set_alarm(task, time);
        }
    }

    /// Have the running task ``kill``, ``stop`` or ``resume`` a process, and sleep until it has come to that.
    fn order(&self, py: Python<'_>, what: &str, process: u32) -> PyResult<()> {
        let process = Process(process);
        let point = |point| self.kernel.point(point, None).map_err(|_| PyErr::fetch(py));
        point(Point::Line)?;
        match what {
            "kill" => self.kernel.schedule().send(Fate::Dies, process),
            "stop" => self.kernel.schedule().send(Fate::Stops, process),
            "resume" => self.kernel.schedule().resume(process),
            _ => return Err(PyValueError::new_err(format!("order: '{what}' is none of kill, stop, resume"))),
        }
        let slept = self.kernel.schedule().sleep_until_sent(process);
        point(if slept { Point::Awake } else { Point::Line })
    }

    /// Sleep until a task has ended, by itself or by a death.
    fn join(&self, py: Python<'_>, task: u32) -> PyResult<()> {
        self.kernel.join(Task(task)).map_err(|_| PyErr::fetch(py))
    }

    /// Pick a number below ``count``: a choice like any other.
    fn pick(&self, count: u32) -> u32 {
        self.kernel.pick(count as usize) as u32
    }

    /// Have each scheduling point told: ``observer(task, point, object)`` runs as nobody.
    #[setter]
    fn set_observer(&self, observer: Option<Py<PyAny>>) {
        self.kernel.greenlets().observer = observer;
    }

    /// Which task runs; None: whoever explores.
    #[getter]
    fn running(&self) -> Option<u32> {
        self.kernel.schedule().running().map(|task| task.0)
    }

    /// Choices made in this schedule.
    #[getter]
    fn steps(&self) -> usize {
        self.kernel.schedule().record.len()
    }

    /// Classes of schedules that were run, if the strategy tells them apart.
    #[getter]
    fn classes(&self) -> Option<u64> {
        self.kernel.schedule().strategy().classes()
    }

    /// Schedules cut off, since others show what they would.
    #[getter]
    fn pruned(&self) -> u64 {
        self.kernel.schedule().strategy().pruned()
    }

    /// The estimated part of all schedules that has been run, if the strategy knows.
    #[getter]
    fn covered(&self) -> Option<f64> {
        self.kernel.schedule().strategy().covered()
    }

    /// This schedule, as a short text.
    #[getter]
    fn token(&self) -> String {
        token::encode(self.kernel.schedule().record.words())
    }

    /// Where the schedule of a token could not be followed: the step, the term that was to come, and those that were on offer, none
    /// if it had ended. None: it was followed to its end.
    #[getter]
    fn strayed(&self) -> Option<(usize, String, Vec<String>)> {
        let stray = self.kernel.schedule().strategy().strayed()?;
        let offered = stray.offered.iter().map(|choice| token::encode([Word::Choice(*choice)])).collect();
        Some((stray.step, token::encode([stray.wanted]), offered))
    }

    /// This schedule's choices: what, of whom or which; how many there were to choose from; and whether it made somebody wait who
    /// could have gone on.
    #[getter]
    fn choices(&self) -> Vec<(&'static str, u32, usize, bool)> {
        let schedule = self.kernel.schedule();
        let record = &schedule.record;
        let told = |step: usize| {
            let (what, which) = match record.choice(step) {
                Choice::Run(task) => match record.fate(step) {
                    None => ("run", task.0),
                    Some(fate) => {
                        let process = schedule.world.of_tasks()[task.index()];
                        (if fate == Fate::Dies { "kill" } else { "stop" }, process.0)
                    }
                },
                Choice::Expire(task) => ("expire", task.0),
                Choice::Spurious(task) => ("spurious", task.0),
                Choice::Kill(process) => ("kill", process.0),
                Choice::Stop(process) => ("stop", process.0),
                Choice::Continue(process) => ("continue", process.0),
                Choice::Pick(number) if record.chance(step).is_some() => ("refuse", number),
                Choice::Pick(number) => ("pick", number),
            };
            let preempts = matches!(record.choice(step), Choice::Run(task) if record.running(step).is_some_and(|before| {
                before != task && record.options(step).contains(&Choice::Run(before))
            }));
            (what, which, record.options(step).len(), preempts)
        };
        (0..record.len()).map(told).collect()
    }

    /// This schedule, for those who force it on others: what, of whom or which; of how many; who could go on then; and, of a turn,
    /// before which point and object the task stood; and who had woken somebody and not gone on since. Of a refusal: which chance
    /// it was since the last choice of another kind.
    #[getter]
    fn script(&self) -> Vec<Direction> {
        let choices = self.choices();
        let schedule = self.kernel.schedule();
        let record = &schedule.record;
        let direct = |(step, (what, which, count, _)): (usize, (&'static str, u32, usize, bool))| {
            let able = record.options(step).iter().filter_map(|option| match option {
                Choice::Run(task) => Some(task.0),
                _ => None,
            });
            let at = record.pending(step).get(which as usize).filter(|_| what == "run");
            let which = record.chance(step).unwrap_or(which);
            let (point, object) = at.map_or(("", None), |at| (point_name(at.point), at.object.map(|object| object.0)));
            let woke = record.pending(step).iter().zip(0..).filter(|(at, _)| at.point == Point::Woke);
            (what, which, count, able.collect(), point, object, woke.map(|(_, task)| task).collect())
        };
        choices.into_iter().enumerate().map(direct).collect()
    }

    /// The tokens of what could have been chosen instead, in one step.
    fn others(&self, step: usize) -> Vec<String> {
        let schedule = self.kernel.schedule();
        let record = &schedule.record;
        if step >= record.len() {
            return Vec::new();
        }
        let taken = record.choice(step);
        let others = record.options(step).iter().filter(|option| **option != taken);
        others.map(|option| token::encode([Word::Choice(*option)])).collect()
    }

    /// The objects, in the order in which they were made: kind, and name or file.
    #[getter]
    fn objects(&self) -> Vec<(&'static str, String)> {
        self.kernel.files()
    }

    /// What the processes hold of the objects: of which, in which way, which process, which thread of it (None: any), and which of
    /// several; ``ended``: only what those hold who have come to their end by themselves.
    #[pyo3(signature = (*, ended=false))]
    fn held(&self, ended: bool) -> Vec<(usize, &'static str, u32, Option<u32>, u32)> {
        let all = self.kernel.held();
        let world = &self.kernel.schedule().world;
        let told = |(about, held): (usize, Held)| {
            let life = held.life.0;
            let process = world.process_of(life)?.0;
            let wanted = !ended || world.has_ended(life);
            wanted.then_some((about, held.hold.name(), process, World::task_of(life).map(|task| task.0), held.number))
        };
        all.into_iter().filter_map(told).collect()
    }

    /// A handle of an object, by its place in ``objects``.
    fn handle(&self, py: Python<'_>, about: usize) -> PyResult<Py<PyAny>> {
        reopen_in_lab(py, &self.kernel, about)
    }

    /// Who sleeps: the task, and whether until a time.
    #[getter]
    fn sleepers(&self) -> Vec<(u32, bool)> {
        let schedule = self.kernel.schedule();
        let world = &schedule.world;
        let asleep = |task: &Task| world.is_left(*task) && world.is_asleep(*task);
        world.tasks().filter(asleep).map(|task| (task.0, world.due(task).is_some())).collect()
    }

    /// The object on whose words a task sleeps, as its place in ``objects``; None: it does not, or on no object's.
    fn waits_on(&self, task: u32) -> Option<u32> {
        self.kernel.schedule().world.sleeps_on(Task(task)).map(|object| object.0)
    }

    /// Say whether a task has neither returned nor died.
    fn is_left(&self, task: u32) -> bool {
        let schedule = self.kernel.schedule();
        schedule.world.tasks().any(|known| known.0 == task) && schedule.world.is_left(Task(task))
    }

    /// The pid of the process that runs.
    #[getter]
    fn pid(&self) -> u32 {
        let me = self.kernel.me().map_or(Life::NOBODY, |me| me.process);
        self.kernel.pid(me)
    }

    /// Say whether a process was killed.
    fn is_dead(&self, process: u32) -> bool {
        let schedule = self.kernel.schedule();
        schedule.world.processes().any(|known| known.0 == process) && schedule.world.is_dead(Process(process))
    }

    /// Nanoseconds of the virtual clock.
    #[getter]
    fn now(&self) -> u64 {
        self.kernel.schedule().now()
    }
}

/// Say whether what this thread makes lives in the lab.
#[pyfunction]
pub fn in_lab() -> bool {
    kernel_lab::current().is_some()
}

impl Lab {
    fn over(strategy: Box<dyn Strategy>, budget: Budget) -> Self {
        Self { kernel: Arc::new(LabKernel::new(Schedule::new(strategy, budget))) }
    }
}
