//! What schedules teach about the next ones: how long they are, who takes how many steps, who can die.

use crate::choice::{Choice, Object, Pending, Point, Process, Task};
use crate::record::{End, Record};
use crate::strategy::walk::Dice;

/// How many schedules' lengths are remembered.
const LENGTHS: usize = 32;

/// Steps of one task, over all schedules in which it was not killed.
#[derive(Debug, Default)]
struct Counts {
    schedules: u32,
    steps: u32,
    /// Those before which it stood at an object, by the object's number.
    at: Vec<u32>,
    /// The objects that it may have changed.
    wrote: Vec<bool>,
    /// Who started it; none: the host.
    parent: Option<Task>,
}

/// What was seen of a program so far.
#[derive(Debug, Default)]
pub struct Census {
    longest: usize,
    /// How long the last schedules were in which nobody died and nothing was at fault, in no order.
    lengths: Vec<usize>,
    /// How many such there were.
    smooth: usize,
    /// The most steps of a schedule whose order can matter.
    telling: usize,
    tasks: Vec<Counts>,
    /// Which process each task belongs to.
    processes: Vec<Process>,
    /// Those that could die.
    mortal: Vec<Process>,
    /// The most deaths that a schedule had room for.
    kills: usize,
    /// The same of sleeps without a cause and stops.
    faults: usize,
    spurious: bool,
    stops: bool,
    /// Objects whose steps of different tasks can conflict.
    shared: Vec<Object>,
    /// The same, by the number of the object.
    is_shared: Vec<bool>,
    /// Tasks of the schedule that is read now that were not killed.
    spared: Vec<bool>,
}

impl Census {
    /// Learns from a schedule. Nothing from one that was cut off or went on in circles: neither tells how long others are.
    pub fn learn(&mut self, record: &Record) {
        if matches!(record.end, End::Open | End::Pruned | End::Livelock) {
            return;
        }
        self.longest = self.longest.max(record.len());
        let tasks = record.processes.len();
        if self.tasks.len() < tasks {
            self.tasks.resize_with(tasks, Counts::default);
        }
        if self.processes.len() < tasks {
            self.processes.clone_from(&record.processes);
        }
        self.spared.clear();
        self.spared.resize(tasks, true);
        for choice in record.choices() {
            if let Choice::Kill(process) = choice {
                let dead = record.processes.iter().map(|of_task| *of_task == process);
                self.spared.iter_mut().zip(dead).for_each(|(spared, dead)| *spared &= !dead);
            }
        }
        if !went_wrong(record) {
            self.lengths.resize(self.lengths.len().max(1 + self.smooth % LENGTHS), 0);
            self.lengths[self.smooth % LENGTHS] = record.len();
            self.smooth += 1;
        }
        for (counts, spared) in self.tasks.iter_mut().zip(&self.spared) {
            counts.schedules += u32::from(*spared);
        }
        let (mut kills, mut faults) = (0, 0);
        for step in 0..record.len() {
            self.learn_faults(record.options(step), kills, faults);
            match record.choice(step) {
                Choice::Run(task) => self.learn_step(record, step, task),
                Choice::Kill(_) => kills += 1,
                Choice::Spurious(_) | Choice::Stop(_) => faults += 1,
                Choice::Expire(_) | Choice::Continue(_) | Choice::Pick(_) => {}
            }
            self.learn_births(record, step);
        }
        let tells = |step: &usize| match record.choice(*step) {
            Choice::Run(task) => self.tells(&record.pending(*step)[task.index()]),
            _ => false,
        };
        self.telling = self.telling.max((0..record.len()).filter(tells).count());
    }

    fn learn_step(&mut self, record: &Record, step: usize, task: Task) {
        let counts = &mut self.tasks[task.index()];
        let spared = self.spared[task.index()];
        counts.steps += u32::from(spared);
        let Some(object) = record.pending(step)[task.index()].object else { return };
        let writes = record.pending(step)[task.index()].writes();
        let index = object.0 as usize;
        if counts.at.len() <= index {
            counts.at.resize(index + 1, 0);
            counts.wrote.resize(index + 1, false);
        }
        let news = counts.at[index] == 0 || writes && !counts.wrote[index];
        counts.at[index] += u32::from(spared);
        counts.wrote[index] |= writes;
        if news && !self.is_shared.get(index).is_some_and(|shared| *shared) && self.have_shared(index) {
            self.shared.push(object);
            self.is_shared.resize(self.is_shared.len().max(index + 1), false);
            self.is_shared[index] = true;
        }
    }

    fn have_shared(&self, object: usize) -> bool {
        let users = self.tasks.iter().filter(|counts| counts.at.get(object).is_some_and(|count| *count > 0)).count();
        users > 1 && self.tasks.iter().any(|counts| counts.wrote.get(object) == Some(&true))
    }

    fn learn_faults(&mut self, options: &[Choice], kills: usize, faults: usize) {
        for option in options.iter().rev() {
            match option {
                Choice::Stop(_) => self.stops = true,
                Choice::Spurious(_) => self.spurious = true,
                Choice::Kill(process) => {
                    self.kills = self.kills.max(kills + 1);
                    if !self.mortal.contains(process) {
                        self.mortal.push(*process);
                    }
                    continue;
                }
                // The others stand before these.
                _ => break,
            }
            self.faults = self.faults.max(faults + 1);
        }
    }

    fn learn_births(&mut self, record: &Record, step: usize) {
        let Some(before) = step.checked_sub(1) else { return };
        for born in record.pending(before).len()..record.pending(step).len() {
            self.tasks[born].parent = record.running(step);
        }
    }

    /// Steps of the longest schedule, at least 1.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest.max(1)
    }

    /// Steps of one of the last schedules in which nobody died and nothing was at fault, at least 1.
    #[must_use]
    pub fn length(&self, dice: &mut Dice) -> usize {
        if self.lengths.is_empty() { self.longest() } else { self.lengths[dice.below(self.lengths.len())].max(1) }
    }

    /// Says whether the order of a step and those of other tasks can matter: it is at an object that tasks share, or a
    /// line of the program, of which nothing is known.
    #[must_use]
    pub fn tells(&self, pending: &Pending) -> bool {
        let shared = |object: Object| self.is_shared.get(object.0 as usize).is_some_and(|shared| *shared);
        pending.object.map_or(pending.point == Point::Line, shared)
    }

    /// The most such steps that a schedule had.
    #[must_use]
    pub fn telling(&self) -> usize {
        self.telling
    }

    /// How many tasks there were at most.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Who starts a task; none: the host, or it was not seen yet.
    #[must_use]
    pub fn parent(&self, task: Task) -> Option<Task> {
        self.tasks.get(task.index())?.parent
    }

    /// How many steps a task takes on average, rounded up, since what is seldom done has a place too; only those before which it stands at `object`, if there is one.
    #[must_use]
    pub fn steps(&self, task: Task, object: Option<Object>) -> u32 {
        let Some(counts) = self.tasks.get(task.index()) else { return 0 };
        let total = object.map_or(counts.steps, |object| counts.at.get(object.0 as usize).copied().unwrap_or(0));
        total.div_ceil(counts.schedules.max(1))
    }

    /// How many steps a process takes on average.
    #[must_use]
    pub fn steps_of(&self, process: Process) -> usize {
        let mine = |task: &Task| self.processes[task.index()] == process;
        (0..self.processes.len() as u32).map(Task).filter(mine).map(|task| self.steps(task, None) as usize).sum()
    }

    /// Objects that at least two tasks used, and at least one changed.
    #[must_use]
    pub fn shared(&self) -> &[Object] {
        &self.shared
    }

    /// Processes that could die.
    #[must_use]
    pub fn mortal(&self) -> &[Process] {
        &self.mortal
    }

    /// How many deaths a schedule has room for, as far as was seen.
    #[must_use]
    pub fn kills(&self) -> usize {
        self.kills
    }

    /// How many sleeps without a cause and stops a schedule has room for, as far as was seen.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.faults
    }

    /// Sleeps can end without a cause.
    #[must_use]
    pub fn spurious(&self) -> bool {
        self.spurious
    }

    /// Processes can be stopped.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.stops
    }
}

/// Says whether somebody died, or something was at fault: such a schedule is shorter or longer for it.
fn went_wrong(record: &Record) -> bool {
    (0..record.len()).any(|step| match record.choice(step) {
        Choice::Kill(_) | Choice::Spurious(_) | Choice::Stop(_) => true,
        Choice::Pick(number) => number > 0 && record.chance(step).is_some(),
        Choice::Run(_) | Choice::Expire(_) | Choice::Continue(_) => false,
    })
}
