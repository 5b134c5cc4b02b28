//! What has happened in one schedule.

use crate::choice::{Choice, Object, Pending, Process, Task};
use crate::token::Word;
use crate::world::Fate;

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

/// What steps use: objects, and what the kernel keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    /// Memory that processes share.
    Object(Object),
    /// Who has a lock that others may stand back from: see [`Manner::Take`].
    Lock(Object),
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
    /// Whether a process is to be killed or stopped by another: its steps come before that or after.
    Fate(Process),
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
    /// It makes it this, whatever it was, and learns nothing of that: who else makes it the same makes no difference.
    Set(i64),
    /// It waits for a lock, and takes it: it cannot come before whoever has the lock gives it back.
    Take,
    /// It gives a lock back.
    Give,
    /// Anything else.
    Change,
}

impl Manner {
    /// The order of two such uses makes no difference.
    #[must_use]
    fn is_alike(self) -> bool {
        matches!(self, Self::Look | Self::Leave | Self::Set(_))
    }
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
        let alike = self.manner == other.manner && self.manner.is_alike();
        self.thing == other.thing && !alike
    }
}

/// One choice, and what it led to, as places in the lists of a [`Record`].
#[derive(Debug, Clone, Copy)]
struct Step {
    choice: Choice,
    /// It is whether an operation was refused: which chance to do so since the last choice of another kind.
    chance: Option<u32>,
    /// It is what another process has sent.
    fate: Option<Fate>,
    running: Option<Task>,
    options: usize,
    pending: usize,
    ties: usize,
}

/// One schedule: the choices, what else there was to choose, and what each step touched. Used again and again.
#[derive(Debug, Default)]
pub struct Record {
    steps: Vec<Step>,
    options: Vec<Choice>,
    pending: Vec<Pending>,
    ties: Vec<Tie>,
    /// The steps that found a lock taken and stood back.
    bars: Vec<(usize, Object)>,
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
        self.ties.clear();
        self.bars.clear();
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

    /// The step that has begun is what another process has sent.
    pub fn mark_fate(&mut self, fate: Fate) {
        if let Some(step) = self.steps.last_mut() {
            step.fate = Some(fate);
        }
    }

    /// What came in a step that another process had sent; none: the task went on.
    #[must_use]
    pub fn fate(&self, step: usize) -> Option<Fate> {
        self.steps[step].fate
    }

    /// Which chance to refuse an operation the step was, since the last choice of another kind; none: it was another choice.
    #[must_use]
    pub fn chance(&self, step: usize) -> Option<u32> {
        self.steps[step].chance
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

    /// What the step used, in order; the same thing may stand there twice.
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
            fate: None,
            running,
            options: self.options.len(),
            pending: self.pending.len(),
            ties: self.ties.len(),
        });
        self.options.extend_from_slice(options);
        self.pending.extend_from_slice(pending);
    }

    /// The step that has begun finds this lock taken, and stands back: for all that others see, it has not been.
    pub fn bar(&mut self, object: Object) {
        if let Some(step) = self.steps.len().checked_sub(1) {
            self.bars.push((step, object));
        }
    }

    /// The lock that a step stood back from; none: it did something.
    #[must_use]
    pub fn barred(&self, step: usize) -> Option<Object> {
        let place = self.bars.binary_search_by_key(&step, |(step, _)| *step).ok()?;
        Some(self.bars[place].1)
    }

    /// Who stands back from which lock at the end.
    pub fn left_barred(&self) -> impl Iterator<Item = (Task, Object)> + '_ {
        let last = |task| (0..self.len()).rev().find(|step| self.choice(*step) == Choice::Run(task));
        let tasks = (0..self.processes.len() as u32).map(Task);
        tasks.filter_map(move |task| Some((task, self.barred(last(task)?)?)))
    }

    /// What has to be followed to do the same again, also where nobody stands back: the steps that stood back are left out.
    /// Who waits for a lock at the end comes to it last, with one step to it, and another to sleep. Chances to refuse that
    /// were not used count, and are no words.
    #[must_use]
    pub fn words(&self) -> Vec<Word> {
        let done = self.steps.iter().enumerate().filter(|(number, _)| self.barred(*number).is_none());
        let done = done.filter_map(|(_, step)| match (step.choice, step.chance) {
            (Choice::Pick(0), Some(_)) => None,
            (_, Some(number)) => Some(Word::Refuse(number)),
            (choice, None) => Some(Word::Choice(choice)),
        });
        let waits = self.left_barred().filter(|_| matches!(self.end, End::Done | End::Deadlock));
        done.chain(waits.flat_map(|(task, _)| [Word::Choice(Choice::Run(task)); 2])).collect()
    }

    /// The step that has begun uses something.
    pub fn tie(&mut self, thing: Thing, manner: Manner) {
        let Some(step) = self.steps.last() else { return };
        let tie = Tie { thing, manner };
        if !self.ties[step.ties..].contains(&tie) {
            self.ties.push(tie);
        }
    }
}
