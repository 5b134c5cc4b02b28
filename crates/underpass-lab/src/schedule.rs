//! One schedule after another: what can happen next is listed, chosen, done, and written down.

mod bars;
mod orders;
mod ties;

use crate::choice::{Choice, Crossing, Pending, Point, Process, Task};
use crate::record::{End, Manner, Record, Thing};
use crate::strategy::Strategy;
use crate::world::{Fate, World};

/// How much may happen in one schedule beyond the order of the steps.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Deaths.
    pub kills: u32,
    /// Stops, sleeps that end without a cause, refusals for want of room.
    pub faults: u32,
    /// Time-outs may fire while somebody can go on, and in any order; otherwise when nobody can, in the order of their deadlines.
    pub early: bool,
    /// Times that a task that could go on has to wait; none: any number.
    pub preemptions: Option<u32>,
    /// Choices, before all get their turns; after twice as many it is a livelock.
    pub steps: usize,
}

/// Who goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Whoever asked.
    Stay,
    /// Another task.
    Switch(Task),
    /// Nobody: the schedule has ended.
    Over,
}

/// The schedule in progress.
#[derive(Debug)]
pub struct Schedule {
    /// Its world.
    pub world: World,
    /// What has happened.
    pub record: Record,
    /// Who decides.
    strategy: Box<dyn Strategy>,
    budget: Budget,
    left: Budget,
    running: Option<Task>,
    /// Turns in a livelock's round.
    round: usize,
    options: Vec<Choice>,
    /// What is asked is whether an operation is refused.
    refusal: bool,
    /// Chances to refuse one since the last choice of another kind.
    chances: u32,
    found: Vec<Task>,
    /// Who finds a lock taken stands back.
    bars: bool,
}

impl Schedule {
    /// Schedules that a strategy decides.
    #[must_use]
    pub fn new(strategy: Box<dyn Strategy>, budget: Budget) -> Self {
        // A death or a fault can come while somebody sleeps.
        let bars = strategy.bars() && budget.kills == 0 && budget.faults == 0 && budget.preemptions.is_none();
        Self {
            bars,
            world: World::default(),
            record: Record::default(),
            strategy,
            budget,
            left: budget,
            running: None,
            round: 0,
            options: Vec::new(),
            refusal: false,
            chances: 0,
            found: Vec::new(),
        }
    }

    /// Begins the next schedule, in an empty world; false: there is none.
    pub fn begin(&mut self) -> bool {
        self.world.clear();
        self.record.clear();
        self.left = self.budget;
        self.running = None;
        self.round = 0;
        self.chances = 0;
        self.strategy.begin()
    }

    /// Ends it, as it ended or as the host says, and tells the strategy.
    pub fn end(&mut self, failed: bool) -> End {
        if failed {
            self.record.end = End::Failed;
        }
        self.tie_roused();
        self.record.processes.extend_from_slice(self.world.of_tasks());
        self.strategy.end(&self.record);
        self.record.end
    }

    /// Who decides.
    #[must_use]
    pub fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
    }

    /// Who runs; none: the host.
    #[must_use]
    pub fn running(&self) -> Option<Task> {
        self.running
    }

    /// The host runs between two steps, for a look at the world: what it was before has to be set again.
    pub fn set_running(&mut self, running: Option<Task>) {
        self.running = running;
    }

    /// The schedule has ended, and who is left only unwinds.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.record.end != End::Open
    }

    /// Cuts the schedule short: the host has seen enough.
    pub fn fail(&mut self) {
        self.record.end = End::Failed;
    }

    /// The step that is under way uses something.
    pub fn tie(&mut self, thing: Thing, manner: Manner) {
        if !self.is_over() {
            self.record.tie(thing, manner);
        }
    }

    /// The running task comes to a scheduling point.
    pub fn arrive(&mut self, pending: Pending) -> Next {
        if let Some(task) = self.running {
            // What an operation does after its last wake is taken to touch nothing.
            let goes_on = self.world.pending()[task.index()].point == Point::Woke && pending.point != Point::Operation;
            self.world.set_pending(task, pending);
            if let Pending { point, object: Some(object), .. } = pending
                && (point == Point::Wake || goes_on)
            {
                // Whoever does the same first owes the wake.
                self.tie(Thing::Object(object), Manner::Change);
            }
            if self.world.is_asleep(task) {
                self.tie_words_of(task, Manner::Change);
                let lives: Vec<u32> = self.world.lives_of(task).collect();
                for life in lives {
                    self.tie_life(life, Manner::Look);
                }
            }
        }
        self.advance()
    }

    /// The running task has returned.
    pub fn finish(&mut self, task: Task) {
        self.tie(Thing::Life(self.world.of_tasks()[task.index()]), Manner::Change);
        self.tie_baton_of(task);
        self.world.finish(task);
    }

    /// Decides who goes on.
    pub fn advance(&mut self) -> Next {
        loop {
            if self.is_over() || !self.list() {
                return Next::Over;
            }
            let Some(choice) = self.choose() else { return Next::Over };
            match choice {
                Choice::Run(task) if self.meets_fate(task) => {}
                Choice::Run(task) => {
                    let stays = self.running == Some(task);
                    self.running = Some(task);
                    if let Pending { object: Some(object), manner, .. } = self.world.pending()[task.index()] {
                        self.record.tie(Thing::Object(object), manner);
                    }
                    return if stays { Next::Stay } else { Next::Switch(task) };
                }
                Choice::Expire(task) => {
                    self.tie(Thing::Clock, Manner::Leave);
                    if self.world.is_asleep(task) {
                        self.tie_words_of(task, Manner::Leave);
                    }
                    self.world.expire(task);
                }
                Choice::Spurious(task) => {
                    self.left.faults -= 1;
                    self.tie(Thing::Faults, Manner::Leave);
                    self.tie_words_of(task, Manner::Leave);
                    self.world.disturb(task);
                }
                Choice::Kill(process) => {
                    self.left.kills -= 1;
                    self.befall(process, Fate::Dies);
                }
                Choice::Stop(process) => {
                    self.left.faults -= 1;
                    self.tie(Thing::Faults, Manner::Leave);
                    self.world.stop(process, true);
                }
                Choice::Continue(process) => self.world.stop(process, false),
                Choice::Pick(_) => unreachable!("only asked for in the middle of a step"),
            }
        }
    }

    /// Wakes up to `count` who sleep on a word; how many there were. Which of several, the strategy says.
    pub fn wake(&mut self, word: usize, count: u32) -> u32 {
        let mut found = std::mem::take(&mut self.found);
        self.world.sleepers_on(word, &mut found);
        self.tie_word(word, if found.is_empty() { Manner::Look } else { Manner::Change });
        let mut woken = 0;
        while woken < count && !found.is_empty() {
            let index = if found.len() > (count - woken) as usize { self.pick(found.len() as u32) as usize } else { 0 };
            self.world.wake(found.remove(index), word);
            woken += 1;
        }
        self.found = found;
        woken
    }

    /// Lets the strategy pick a number below `count`, in the middle of a step.
    pub fn pick(&mut self, count: u32) -> u32 {
        self.options.clear();
        self.options.extend((0..count).map(Choice::Pick));
        match self.choose() {
            Some(Choice::Pick(number)) => number,
            _ => 0,
        }
    }

    /// Whether an operation is refused for want of room though there is some: a fault.
    pub fn refuses(&mut self) -> bool {
        // Whoever goes round for ever gets no more faults.
        if self.is_over() || self.record.len() >= self.budget.steps {
            return false;
        }
        if self.budget.faults > 0 {
            self.tie(Thing::Faults, Manner::Look);
        }
        if self.left.faults == 0 {
            return false;
        }
        if self.strategy.passes() {
            self.chances += 1;
            return false;
        }
        self.refusal = true;
        let refused = self.pick(2) == 1;
        self.refusal = false;
        if refused {
            self.tie(Thing::Faults, Manner::Change);
        }
        self.left.faults -= u32::from(refused);
        refused
    }

    /// Whoever runs has waited until a time.
    pub fn wait_until(&mut self, time: u64) {
        self.tie(Thing::Clock, Manner::Change);
        self.world.wait_until(time);
    }

    /// Names the baton of whoever runs; one that another covers is woken. The one before.
    pub fn name_baton(&mut self, word: usize) -> usize {
        let Some(task) = self.running else { return 0 };
        // Whoever kills the task wakes there.
        if word != 0 {
            self.tie(Thing::Baton(task), Manner::Change);
            self.tie_word(word, Manner::Look);
        }
        let before = self.world.name_baton(task, word);
        if before != 0 && word != 0 && before != word {
            self.wake(before, 1);
        }
        before
    }

    /// Lists what can happen next; false: nothing, and the schedule has ended.
    fn list(&mut self) -> bool {
        self.options.clear();
        let Self { world, options, left, running, .. } = self;
        options.extend(world.tasks().filter(|task| world.can_run(*task)).map(Choice::Run));
        if left.preemptions == Some(0)
            && let Some(task) = running.filter(|task| world.can_run(*task))
        {
            options.clear();
            options.push(Choice::Run(task));
        }
        if options.is_empty() && !world.tasks().any(|task| world.is_left(task) && !world.is_servant(task)) {
            self.record.end = End::Done;
            return false;
        }
        if left.early {
            options.extend(world.tasks().filter(|task| world.due(*task).is_some()).map(Choice::Expire));
        } else if options.is_empty() {
            // Time passes because nobody can go on: it comes to the earliest deadline first.
            let times = || world.tasks().filter_map(|task| Some((world.due(task)?, task)));
            let first = times().map(|(time, _)| time.max(world.now())).min();
            options.extend(times().filter(|(time, _)| Some(*time) <= first).map(|(_, task)| Choice::Expire(task)));
        }
        let stopped = |process: &Process| world.is_stopped(*process) && !world.is_dead(*process);
        options.extend(world.processes().filter(stopped).map(Choice::Continue));
        if options.is_empty() {
            self.record.end = End::Deadlock;
            return false;
        }
        if left.kills > 0 {
            options.extend(world.processes().filter(|process| world.can_die(*process)).map(Choice::Kill));
        }
        if left.faults > 0 {
            let asleep = |task: &Task| world.is_left(*task) && world.is_asleep(*task);
            options.extend(world.tasks().filter(asleep).map(Choice::Spurious));
            let going = |process: &Process| world.can_die(*process) && world.goes(*process);
            options.extend(world.processes().filter(going).map(Choice::Stop));
        }
        true
    }

    /// Has one of the options chosen, and begins a step; none: the schedule has ended.
    fn choose(&mut self) -> Option<Choice> {
        self.tie_roused();
        let number = self.record.len();
        let index = if self.options.len() == 1 || self.is_over() {
            self.strategy.forced(self.options[0]);
            0
        } else if number >= self.budget.steps {
            self.fair()
        } else {
            let crossing = Crossing {
                budget: &self.budget,
                number,
                options: &self.options,
                pending: self.world.pending(),
                processes: self.world.of_tasks(),
                running: self.running,
                record: &self.record,
                refusal: self.refusal,
            };
            let Some(index) = self.strategy.choose(&crossing) else {
                self.record.end = End::Pruned;
                return None;
            };
            index
        };
        if number >= self.budget.steps * 2 {
            self.record.end = End::Livelock;
            return None;
        }
        let choice = self.options[index];
        if let (Choice::Run(task), Some(running), Some(preemptions)) =
            (choice, self.running, &mut self.left.preemptions)
            && task != running
            && self.world.can_run(running)
        {
            *preemptions = preemptions.saturating_sub(1);
        }
        self.record.push(choice, self.running, &self.options, self.world.pending());
        if self.refusal {
            self.record.mark_chance(self.chances);
            self.chances += 1;
        } else {
            self.chances = 0;
        }
        Some(choice)
    }

    /// All get their turns, and whoever can go on goes on before a time-out fires; who is stopped goes on first of all.
    fn fair(&mut self) -> usize {
        if let Some(index) = self.options.iter().position(|option| matches!(option, Choice::Continue(_))) {
            return index;
        }
        let first = |able: fn(&Choice) -> bool| self.options.iter().take_while(|option| able(option)).count();
        let turns = match first(|option| matches!(option, Choice::Run(_))) {
            0 => first(|option| matches!(option, Choice::Expire(_))),
            runnable => runnable,
        };
        self.round += 1;
        // What is picked in the middle of a step is neither.
        self.round % if turns > 0 { turns } else { self.options.len() }
    }
}
