//! What can happen next.

use crate::record::{Manner, Record};
use crate::schedule::Budget;

/// A thread of a simulated process, by the order in which they were started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task(pub u32);

/// A simulated process, by the order in which they were started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process(pub u32);

/// An object that processes share, by the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object(pub u32);

impl Task {
    /// Its place in lists of tasks.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Process {
    /// Its place in lists of processes.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One thing that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Choice {
    /// A task goes on to its next scheduling point.
    Run(Task),
    /// The time-out of a sleeper fires. It goes on by a [`Choice::Run`] of its own.
    Expire(Task),
    /// A sleep ends without a cause.
    Spurious(Task),
    /// A process dies where it is.
    Kill(Process),
    /// A process is stopped, as by SIGSTOP.
    Stop(Process),
    /// A stopped process goes on.
    Continue(Process),
    /// The n-th of what is asked in the middle of a step: which sleeper a wake finds, what the program lets choose, whether
    /// an operation is refused for want of room.
    Pick(u32),
}

/// What a task stands before: it does this when it next runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// Its first step.
    Start,
    /// An operation of an object.
    Operation,
    /// To look a last time at what it waits for, and to sleep.
    Park,
    /// To go on after its sleep.
    Awake,
    /// To wake those whom it owes that.
    Wake,
    /// To go on after it has woken somebody, who may go on first.
    Woke,
    /// Nothing of the library's: a line of the program, in the slower mode.
    Line,
}

/// What a task does when it next runs, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pending {
    /// What.
    pub point: Point,
    /// On what; none: on nothing that is shared.
    pub object: Option<Object>,
    /// How.
    pub manner: Manner,
}

impl Pending {
    /// The first step of a task.
    pub const START: Self = Self { point: Point::Start, object: None, manner: Manner::Look };

    /// Says whether the order of this and `other` can matter.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        self.object.is_some() && self.object == other.object && (self.writes() || other.writes())
    }

    /// It may change the object.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.manner != Manner::Look
    }
}

/// Where a strategy has to choose.
#[derive(Debug)]
pub struct Crossing<'a> {
    /// How much may happen in this schedule beyond the order of the steps.
    pub budget: &'a Budget,
    /// How many choices were made before in this schedule.
    pub number: usize,
    /// What can happen next, at least two things: tasks that can run first, in their order. All are [`Choice::Pick`], or none is.
    pub options: &'a [Choice],
    /// What each task stands before, by [`Task::index`].
    pub pending: &'a [Pending],
    /// Which process each task belongs to, by [`Task::index`].
    pub processes: &'a [Process],
    /// Who ran last.
    pub running: Option<Task>,
    /// What has happened: also the steps since the last crossing, where there was nothing to choose.
    pub record: &'a Record,
    /// The picks are: 0, an operation goes on, and 1, it is refused for want of room that there is.
    pub refusal: bool,
}

impl Crossing<'_> {
    /// Where in the options the task that ran last goes on; none: it cannot.
    #[must_use]
    pub fn straight_on(&self) -> Option<usize> {
        let running = self.running?;
        self.options.iter().position(|option| *option == Choice::Run(running))
    }

    /// How many of the options are to let a task run.
    #[must_use]
    pub fn runnable(&self) -> usize {
        self.options.iter().take_while(|option| matches!(option, Choice::Run(_))).count()
    }
}
