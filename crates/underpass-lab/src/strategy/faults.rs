//! What happens beside the order of the steps: deaths, stops, time-outs, sleeps that end without a cause, refusals, picks.
//!
//! A coin at each step would spend a schedule's one death near its beginning. Here deaths and faults are drawn before a
//! schedule begins: how many, whose, and when. A death is due after one of the steps of who dies, each as likely as any other,
//! or, as faults are, at one of the moments of the schedule: many of them pass while somebody sleeps. What cannot happen at its
//! moment happens at the next one at which it can. The first schedule has none: it shows how long schedules are, and who can die.
//!
//! How readily time-outs fire is drawn for each schedule, too: a bug that takes several of them at once is seldom met where
//! each is rare, and one that takes a long sleep where each is frequent. Groce, Zhang, Eide, Chen and Regehr, "Swarm Testing", ISSTA 2012.

use crate::choice::{Choice, Crossing, Pending, Process, Task};
use crate::strategy::census::Census;
use crate::strategy::walk::Dice;

/// Of so many schedules that could have deaths (faults), one has none.
const SPARED: usize = 6;
/// How readily time-outs fire: of so many sleeps with a deadline, one ends by it though others could go on; 0: none does.
const EARLY: [usize; 3] = [0, 4, 2];
/// Of so many chances to refuse where nothing is known about the next one, one is used.
const REFUSALS: usize = 8;

#[derive(Debug, Clone, Copy)]
enum What {
    /// This process dies.
    Kill(Process),
    /// Somebody's sleep ends without a cause.
    Spurious,
    /// Somebody is stopped.
    Stop,
    /// An operation is refused.
    Refusal,
}

#[derive(Debug, Clone, Copy)]
struct Planned {
    /// The number of the choice from which on it is due.
    at: usize,
    what: What,
}

/// A death that is due once a process has made so many steps.
#[derive(Debug, Clone, Copy)]
struct Doomed {
    victim: Process,
    left: usize,
}

/// When the time-out of a task fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    /// Not drawn for this sleep.
    Open,
    /// When nobody can go on.
    Late,
    /// From this choice on.
    At(usize),
}

/// The plan of one schedule.
#[derive(Debug, Default)]
pub struct Faults {
    planned: Vec<Planned>,
    /// Deaths whose moments are not known yet.
    doomed: Vec<Doomed>,
    /// The first choice at which something is due.
    next: usize,
    /// By [`Task::index`].
    expiries: Vec<Expiry>,
    /// The choice from which on a stopped process goes on, by [`Process::index`].
    resumptions: Vec<usize>,
    /// Choices in a schedule like one of the last.
    length: usize,
    /// One of [`EARLY`].
    early: usize,
    /// A time-out that fires early does so within so many choices.
    soon: usize,
    /// An operation could have been refused once.
    refusals: bool,
}

impl Faults {
    /// Draws the plan of the next schedule.
    pub fn begin(&mut self, census: &Census, dice: &mut Dice) {
        self.length = census.length(dice);
        self.early = if census.tasks() == 0 { 0 } else { EARLY[dice.below(EARLY.len())] };
        self.soon = if self.early == EARLY[1] { self.length } else { census.tasks() };
        self.planned.clear();
        self.doomed.clear();
        self.expiries.clear();
        self.resumptions.clear();
        for _ in 0..Self::how_many(census.kills(), dice) {
            let victim = census.mortal()[dice.below(census.mortal().len())];
            let steps = census.steps_of(victim);
            if steps > 1 && dice.below(2) == 0 {
                // After its last it is at its end.
                self.doomed.push(Doomed { victim, left: 1 + dice.below(steps - 1) });
            } else {
                self.plan(What::Kill(victim), dice);
            }
        }
        let kinds = [
            census.spurious().then_some(What::Spurious),
            census.stops().then_some(What::Stop),
            self.refusals.then_some(What::Refusal),
        ];
        let count = kinds.iter().flatten().count();
        for _ in 0..Self::how_many(census.faults().max(usize::from(self.refusals)), dice) {
            let kind = kinds.iter().flatten().nth(dice.below(count));
            if let Some(kind) = kind {
                self.plan(*kind, dice);
            }
        }
        self.find_next();
    }

    fn how_many(possible: usize, dice: &mut Dice) -> usize {
        if possible == 0 || dice.below(SPARED) == 0 { 0 } else { 1 + dice.below(possible) }
    }

    fn plan(&mut self, what: What, dice: &mut Dice) {
        self.planned.push(Planned { at: dice.below(self.length), what });
    }

    fn find_next(&mut self) {
        self.next = self.planned.iter().map(|planned| planned.at).min().unwrap_or(usize::MAX);
    }

    /// A step has been made.
    pub fn after(&mut self, crossing: &Crossing<'_>, step: usize) {
        let Choice::Run(task) = crossing.record.choice(step) else { return };
        if let Some(expiry) = self.expiries.get_mut(task.index()) {
            *expiry = Expiry::Open;
        }
        let process = crossing.processes[task.index()];
        for doomed in &mut self.doomed {
            doomed.left -= usize::from(doomed.victim == process);
        }
        while let Some(place) = self.doomed.iter().position(|doomed| doomed.left == 0) {
            let Doomed { victim, .. } = self.doomed.swap_remove(place);
            self.planned.push(Planned { at: step, what: What::Kill(victim) });
            self.find_next();
        }
    }

    /// What happens; none: one of the tasks that can run does, and which is not decided here.
    pub fn choose(&mut self, crossing: &Crossing<'_>, dice: &mut Dice) -> Option<usize> {
        let options = crossing.options;
        if matches!(options[0], Choice::Pick(_)) {
            let refused = crossing.refusal && self.refuse(crossing.number, dice);
            return Some(if crossing.refusal { usize::from(refused) } else { dice.below(options.len()) });
        }
        if crossing.number >= self.next
            && let Some(index) = self.due(crossing, dice)
        {
            return Some(index);
        }
        let runnable = crossing.runnable();
        let ends = |option: &&Choice| matches!(option, Choice::Expire(_) | Choice::Continue(_));
        let ending = options[runnable..].iter().take_while(ends).count();
        for (index, option) in options.iter().enumerate().skip(runnable).take(ending) {
            if self.ends(*option, crossing.number, dice) {
                return Some(index);
            }
        }
        (runnable == 0).then(|| dice.below(ending))
    }

    /// Says whether a sleep or a stop ends though others could go on.
    fn ends(&mut self, option: Choice, number: usize, dice: &mut Dice) -> bool {
        match option {
            Choice::Expire(Task(task)) => {
                let task = task as usize;
                if self.expiries.len() <= task {
                    self.expiries.resize(task + 1, Expiry::Open);
                }
                if self.expiries[task] == Expiry::Open {
                    let early = self.early > 0 && dice.below(self.early) == 0;
                    self.expiries[task] = if early { Expiry::At(number + dice.below(self.soon)) } else { Expiry::Late };
                }
                matches!(self.expiries[task], Expiry::At(at) if number >= at)
            }
            Choice::Continue(process) => self.resumptions.get(process.index()).is_some_and(|at| number >= *at),
            _ => false,
        }
    }

    /// The first of what is due that can happen.
    fn due(&mut self, crossing: &Crossing<'_>, dice: &mut Dice) -> Option<usize> {
        for place in 0..self.planned.len() {
            let planned = self.planned[place];
            if crossing.number < planned.at {
                continue;
            }
            let index = match planned.what {
                What::Kill(victim) => Self::kill(crossing, victim, dice),
                What::Spurious => one_of(crossing.options, |option| matches!(option, Choice::Spurious(_)), dice),
                What::Stop => one_of(crossing.options, |option| matches!(option, Choice::Stop(_)), dice),
                What::Refusal => None,
            };
            let Some(index) = index else { continue };
            if let Choice::Stop(process) = crossing.options[index] {
                if self.resumptions.len() <= process.index() {
                    self.resumptions.resize(process.index() + 1, 0);
                }
                self.resumptions[process.index()] = crossing.number + 1 + dice.below(self.length);
            }
            self.planned.swap_remove(place);
            self.find_next();
            return Some(index);
        }
        None
    }

    /// Where in the options the victim dies; somebody else if it has come to its end before its time.
    fn kill(crossing: &Crossing<'_>, victim: Process, dice: &mut Dice) -> Option<usize> {
        let exact = crossing.options.iter().rposition(|option| *option == Choice::Kill(victim));
        exact.or_else(|| {
            let mine = |(process, _): &(&Process, _)| **process == victim;
            let mut tasks = crossing.processes.iter().zip(crossing.pending).filter(mine);
            if tasks.all(|(_, pending)| *pending == Pending::START) {
                return None;
            }
            one_of(crossing.options, |option| matches!(option, Choice::Kill(_)), dice)
        })
    }

    fn refuse(&mut self, number: usize, dice: &mut Dice) -> bool {
        if !std::mem::replace(&mut self.refusals, true) {
            return dice.below(REFUSALS) == 0;
        }
        let due = |planned: &Planned| matches!(planned.what, What::Refusal) && number >= planned.at;
        let Some(place) = self.planned.iter().position(due) else { return false };
        self.planned.swap_remove(place);
        self.find_next();
        true
    }
}

/// One of the options of a kind, each as likely as any other.
fn one_of(options: &[Choice], kind: impl Fn(&Choice) -> bool, dice: &mut Dice) -> Option<usize> {
    let count = options.iter().filter(|option| kind(option)).count();
    if count == 0 {
        return None;
    }
    let chosen = dice.below(count);
    options.iter().enumerate().filter(|(_, option)| kind(option)).nth(chosen).map(|(index, _)| index)
}
