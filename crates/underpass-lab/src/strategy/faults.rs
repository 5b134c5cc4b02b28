//! What happens beside the order of the steps: deaths, stops, time-outs, sleeps that end without a cause, refusals, picks.
//!
//! A coin at each step would spend a schedule's one death near its beginning. Here deaths and faults are drawn before a
//! schedule begins: how many, whose, and at which of its moments, each as likely as any other. What cannot happen at its
//! moment happens at the next one at which it can. The first schedule has none: it shows how long schedules are, and who can die.

use crate::choice::{Choice, Crossing, Pending, Process, Task};
use crate::record::Record;
use crate::strategy::census::Census;
use crate::strategy::walk::Dice;

/// Of so many schedules that could have deaths (faults), one has none.
const SPARED: usize = 3;
/// Of so many sleeps with a deadline, one ends by it though others could go on.
const EARLY: usize = 4;
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
    /// The first choice at which something is due.
    next: usize,
    /// By [`Task::index`].
    expiries: Vec<Expiry>,
    /// The choice from which on a stopped process goes on, by [`Process::index`].
    resumptions: Vec<usize>,
    /// Choices in a schedule, as far as was seen.
    longest: usize,
    /// An operation could have been refused once.
    refusals: bool,
}

impl Faults {
    /// Draws the plan of the next schedule.
    pub fn begin(&mut self, census: &Census, dice: &mut Dice) {
        self.longest = census.longest();
        self.planned.clear();
        self.expiries.clear();
        self.resumptions.clear();
        for _ in 0..Self::how_many(census.kills(), dice) {
            let victim = census.mortal()[dice.below(census.mortal().len())];
            self.plan(What::Kill(victim), dice);
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
        self.planned.push(Planned { at: dice.below(self.longest), what });
    }

    fn find_next(&mut self) {
        self.next = self.planned.iter().map(|planned| planned.at).min().unwrap_or(usize::MAX);
    }

    /// A step has been made.
    pub fn after(&mut self, record: &Record, step: usize) {
        if let Choice::Run(task) = record.choice(step)
            && let Some(expiry) = self.expiries.get_mut(task.index())
        {
            *expiry = Expiry::Open;
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
                    let early = dice.below(EARLY) == 0;
                    self.expiries[task] =
                        if early { Expiry::At(number + dice.below(self.longest)) } else { Expiry::Late };
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
                self.resumptions[process.index()] = crossing.number + 1 + dice.below(self.longest);
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
