//! What has happened in one schedule.

use crate::choice::{Choice, Object, Pending, Process, Task};
use crate::token::Word;

/// How a schedule ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// It has not.
    #[default]
    Open,
    /// Everybody has finished or is dead; those who are left are servants.
    Done,
    /// Everybody who is left sleeps, and nobody will wake them.
    Deadlock,
    /// It went on and on, though everybody had their turns.
    Livelock,
    /// The strategy cut it off: another schedule shows what it would.
    Pruned,
    /// A process raised, or an oracle of the host spoke.
    Failed,
}

/// A use of an object by a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Which.
    pub object: Object,
    /// It may have changed it.
    pub writes: bool,
}

/// What the kernel keeps, and steps use besides objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    /// Memory that processes share.
    Object(Object),
    /// Who sleeps on words of an object.
    Sleepers(Object),
    /// Who sleeps on a word that is part of no object.
    Word(usize),
    /// Whether a task can go on: whoever wakes it changes that, and so does each of its own steps.
    Task(Task),
    /// Which word is woken at the death of a task: its own steps name it, and look there.
    Baton(Task),
    /// Whether a process, or one of its threads, lives.
    Life(Process),
    /// The clock, which time-outs move.
    Clock,
    /// How many faults there may still be.
    Faults,
    /// What lines of the program may use that is no object: files, bytes of a view. Nobody sees which.
    Program,
}

/// How a step uses a [`Thing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Manner {
    /// It asks.
    Look,
    /// It takes something away, and who else does so at the same time makes no difference: a sleeper that goes, a time-out.
    Leave,
    /// Anything else.
    Change,
}

/// A use of a thing by a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tie {
    /// What is used.
    pub thing: Thing,
    /// How.
    pub manner: Manner,
}

impl Tie {
    /// Says whether the order of two steps, of which one has this and the other that, can matter.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        self.thing == other.thing && (self.manner != other.manner || self.manner == Manner::Change)
    }
}

/// One choice, and what it led to, as places in the lists of a [`Record`].
#[derive(Debug, Clone, Copy)]
struct Step {
    choice: Choice,
    /// It is whether an operation was refused: which chance to do so since the last choice of another kind.
    chance: Option<u32>,
    running: Option<Task>,
    options: usize,
    pending: usize,
    accesses: usize,
    ties: usize,
}

/// One schedule: the choices, what else there was to choose, and what each step touched. Used again and again.
#[derive(Debug, Default)]
pub struct Record {
    steps: Vec<Step>,
    options: Vec<Choice>,
    pending: Vec<Pending>,
    accesses: Vec<Access>,
    ties: Vec<Tie>,
    /// Which process each task belongs to.
    pub processes: Vec<Process>,
    /// How it ended.
    pub end: End,
}

impl Record {
    /// Forgets everything, and keeps the room.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.options.clear();
        self.pending.clear();
        self.accesses.clear();
        self.ties.clear();
        self.processes.clear();
        self.end = End::Open;
    }

    /// Choices made, also where there was only one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Nothing has happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What was chosen.
    #[must_use]
    pub fn choices(&self) -> impl DoubleEndedIterator<Item = Choice> + ExactSizeIterator + '_ {
        self.steps.iter().map(|step| step.choice)
    }

    /// What was chosen in one step.
    #[must_use]
    pub fn choice(&self, step: usize) -> Choice {
        self.steps[step].choice
    }

    /// The step that has begun is a chance to refuse an operation, the n-th since the last choice of another kind.
    pub fn mark_chance(&mut self, number: u32) {
        if let Some(step) = self.steps.last_mut() {
            step.chance = Some(number);
        }
    }

    /// The step was a chance to refuse an operation.
    #[must_use]
    pub fn is_chance(&self, step: usize) -> bool {
        self.steps[step].chance.is_some()
    }

    /// What has to be followed to do the same again: chances to refuse that were not used count, and are no words.
    pub fn words(&self) -> impl Iterator<Item = Word> + '_ {
        self.steps.iter().filter_map(|step| match (step.choice, step.chance) {
            (Choice::Pick(0), Some(_)) => None,
            (_, Some(number)) => Some(Word::Refuse(number)),
            (choice, None) => Some(Word::Choice(choice)),
        })
    }

    /// Who had run before it.
    #[must_use]
    pub fn running(&self, step: usize) -> Option<Task> {
        self.steps[step].running
    }

    /// What there was to choose from, the choice included.
    #[must_use]
    pub fn options(&self, step: usize) -> &[Choice] {
        let end = self.steps.get(step + 1).map_or(self.options.len(), |next| next.options);
        &self.options[self.steps[step].options..end]
    }

    /// What each task stood before, by [`Task::index`].
    #[must_use]
    pub fn pending(&self, step: usize) -> &[Pending] {
        let end = self.steps.get(step + 1).map_or(self.pending.len(), |next| next.pending);
        &self.pending[self.steps[step].pending..end]
    }

    /// What the step used, in order; the same object may stand there twice.
    #[must_use]
    pub fn accesses(&self, step: usize) -> &[Access] {
        let end = self.steps.get(step + 1).map_or(self.accesses.len(), |next| next.accesses);
        &self.accesses[self.steps[step].accesses..end]
    }

    /// What of the kernel's the step used.
    #[must_use]
    pub fn ties(&self, step: usize) -> &[Tie] {
        let end = self.steps.get(step + 1).map_or(self.ties.len(), |next| next.ties);
        &self.ties[self.steps[step].ties..end]
    }

    /// Begins a step.
    pub fn push(&mut self, choice: Choice, running: Option<Task>, options: &[Choice], pending: &[Pending]) {
        self.steps.push(Step {
            choice,
            chance: None,
            running,
            options: self.options.len(),
            pending: self.pending.len(),
            accesses: self.accesses.len(),
            ties: self.ties.len(),
        });
        self.options.extend_from_slice(options);
        self.pending.extend_from_slice(pending);
    }

    /// The step that has begun uses an object.
    pub fn touch(&mut self, object: Object, writes: bool) {
        let Some(step) = self.steps.last() else { return };
        let access = Access { object, writes };
        if !self.accesses[step.accesses..].contains(&access) {
            self.accesses.push(access);
        }
    }

    /// The step that has begun uses something of the kernel's.
    pub fn tie(&mut self, thing: Thing, manner: Manner) {
        let Some(step) = self.steps.last() else { return };
        let tie = Tie { thing, manner };
        if !self.ties[step.ties..].contains(&tie) {
            self.ties.push(tie);
        }
    }
}
