//! Who waits for whom: read from the table of lives and the objects' own words, without stopping anybody.
//!
//! The graph is the wait-for graph of deadlock detection (Holt, "Some deadlock properties of computer systems", 1972):
//! a thread that needs one certain holder, or all of several, cannot go on before they do; one that anybody may help is
//! free. What is left when everybody that can go on has been struck out is stuck, and the loops in it are the cycles.
//!
//! Invariant: a cycle is told only if all that are in it waited for the same, without a break, from before the first look
//! ended until after the second began: then they did so at one instant.

use std::collections::HashMap;
use std::sync::Arc;

use underpass_shm::header::{self, Header, Kind, WORDS};
use underpass_shm::layout::rwlock::{PLACES, RWLockWords};
use underpass_shm::life::Life;
use underpass_shm::lives::{Living, LoopWaits};
use underpass_shm::operation::Operation;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::region::Region;
use underpass_shm::space::{Entry, Space};
use underpass_shm::sync::Ordering::{Acquire, Relaxed};
use underpass_shm::tasks::TaskWait;
use underpass_shm::waits::Wait;

use crate::Result;
use crate::mutex::Mutex;
use crate::queue::Shape;
use crate::rwlock::{Owner, Places};
use crate::semaphore::leased::Leased;
use crate::site::{Site, Tenure};

/// How often a look is repeated when what it saw did not last.
const LOOKS: u32 = 4;

/// One that must act before a waiter goes on: a thread that owns a lock, a process that serves or holds leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub life: Life,
    /// Since when it holds what is waited for, if the object says so.
    pub since: Option<u64>,
    /// Where it took it, if that was written down.
    pub site: Option<Site>,
}

impl Holder {
    fn of(life: Life, since: Option<u64>) -> Self {
        Self { life, since, site: None }
    }

    /// That of an object which tells where it was taken.
    fn at(region: &Arc<Region>, life: Life, since: Option<u64>) -> Self {
        let site = Site::look(region, life);
        Self { life, since: site.map(|site| site.since).or(since), site }
    }
}

/// What an object is, and its file.
pub type Named = (Kind, Entry);

/// Whose act ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Anybody's, the holders' included.
    Anybody,
    /// One of the holders', and nobody else's.
    One,
    /// Every holder's.
    All,
}

/// A task, as its loop calls it, and where it awaits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The beginning of its name.
    pub name: String,
    /// The end of the file's name; empty: that is not known.
    pub file: String,
    /// The line there.
    pub line: u32,
}

/// Tasks of one thread that wait, and of which no more is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct More {
    /// The thread that runs them.
    pub thread: Life,
    /// Its process.
    pub process: Life,
    /// How many.
    pub count: u32,
    /// Since when the first of them waits, at most.
    pub since: u64,
}

/// Who waits in a space.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Longest first.
    pub waiters: Vec<Waiter>,
    /// Of which loops there are more.
    pub more: Vec<More>,
}

/// One thread that sleeps, or task that waits, and why.
#[derive(Debug, Clone)]
pub struct Waiter {
    /// Who; of a task, who runs it.
    pub thread: Life,
    /// Its process.
    pub process: Life,
    /// The task. Its thread goes on without it: so it is in no cycle.
    pub task: Option<Task>,
    /// For what.
    pub wait: Wait,
    /// The object's file, if it has one still.
    pub object: Option<Entry>,
    /// Of a wait for many: what they are, as far as they have a file still.
    pub members: Vec<Named>,
    /// Those who hold it, oldest first.
    pub holders: Vec<Holder>,
    /// Which of them must act.
    pub need: Need,
    /// Waiters with one number wait for each other in a circle.
    pub cycle: Option<usize>,
}

/// Every thread of the space that sleeps for an object, and every task that waits for one, longest first, with the cycles among
/// the threads.
pub fn survey(space: &Space) -> Result<Survey> {
    let mut waiters = threads(space)?;
    let loops: Vec<LoopWaits> = space.lives().loops().collect();
    waiters.extend(tasks(space, &loops)?);
    waiters.sort_by_key(|waiter| waiter.wait.since);
    let more = |LoopWaits { thread, process, more, .. }: &LoopWaits| {
        more.map(|(count, since)| More { thread: *thread, process: *process, count, since })
    };
    Ok(Survey { waiters, more: loops.iter().filter_map(more).collect() })
}

/// The threads that sleep, with the cycles among them.
fn threads(space: &Space) -> Result<Vec<Waiter>> {
    let mut waiters = Vec::new();
    for _ in 0..LOOKS {
        let living: Vec<_> = space.lives().living().collect();
        waiters = look(space, &living)?;
        mark_cycles(&mut waiters, &living);
        if lasted(space, &waiters) {
            return Ok(waiters);
        }
    }
    // Too much goes on here for a standstill.
    for waiter in &mut waiters {
        waiter.cycle = None;
    }
    Ok(waiters)
}

/// The tasks that wait. Of a wait for many the first object is told.
fn tasks(space: &Space, loops: &[LoopWaits]) -> Result<Vec<Waiter>> {
    let objects = if loops.is_empty() { HashMap::new() } else { objects(space)? };
    let row = |thread, process, TaskWait { wait, name, file, line }: &TaskWait| {
        let object = objects.get(&wait.object);
        let (holders, _) = holders(space, wait, object.map(|(_, header, region)| (header, region)));
        Waiter {
            thread,
            process,
            task: Some(Task { name: name.clone(), file: file.clone(), line: *line }),
            wait: wait.clone(),
            object: object.map(|(entry, ..)| entry.clone()),
            members: Vec::new(),
            holders,
            need: Need::Anybody,
            cycle: None,
        }
    };
    Ok(loops.iter().flat_map(|one| one.tasks.iter().map(|task| row(one.thread, one.process, task))).collect())
}

/// Who holds what this wait is for. `object` is its header and its bytes, if they are there to be read.
#[must_use]
pub fn holders(space: &Space, wait: &Wait, object: Option<(&Header, &Arc<Region>)>) -> (Vec<Holder>, Need) {
    let (mut holders, need) = match wait.kind {
        Kind::Mutex | Kind::SpinLock | Kind::Once | Kind::Condition if wait.operation == Operation::Acquire => {
            owner(object)
        }
        Kind::RWLock if matches!(wait.operation, Operation::Read | Operation::Write) => inside(object),
        Kind::Semaphore if wait.operation == Operation::Acquire => unit_holders(object),
        Kind::Queue | Kind::ObjectQueue if !matches!(wait.operation, Operation::Lock | Operation::Alloc) => {
            slot_holders(wait.operation, object)
        }
        _ => (wait.lives.iter().map(|life| Holder::of(*life, None)).collect(), need_of(wait.operation)),
    };
    holders.retain(|holder| space.lives().alive(holder.life));
    let need = if holders.is_empty() { Need::Anybody } else { need };
    (holders, need)
}

/// Of the watched lives: a mutex's owner and a call's server must act, others may. The lock inside an object is held for a
/// step, and of those who sleep there only the first is sure to have looked since its owner changed.
fn need_of(operation: Operation) -> Need {
    match operation {
        Operation::Acquire | Operation::Call | Operation::Send => Need::One,
        // All others that read; all who have not got what is in the way.
        Operation::Upgrade | Operation::Publish => Need::All,
        Operation::Read
        | Operation::Write
        | Operation::Put
        | Operation::Get
        | Operation::Join
        | Operation::Receive
        | Operation::Wait
        | Operation::Lock
        | Operation::Open
        | Operation::Any
        | Operation::All
        | Operation::Select
        | Operation::Alloc
        | Operation::Pop
        | Operation::Claim
        | Operation::Take => Need::Anybody,
    }
}

/// What a thread waits for together, and who holds it: for a wait of its own that has become long.
pub fn of_many(space: &Space, thread: Life, wait: &Wait) -> Result<(Vec<Named>, Vec<Holder>)> {
    let objects = objects(space)?;
    let many = members(space, thread, wait, &objects);
    let (holders, _) = holders_of_many(space, thread, wait, &many);
    Ok((many.into_iter().map(|(entry, header, _)| (header.kind, entry.clone())).collect(), holders))
}

/// Who owns a mutex, by its own word: of those who sleep only the first is sure to have looked since the owner changed.
fn owner(object: Option<(&Header, &Arc<Region>)>) -> (Vec<Holder>, Need) {
    let mutex = object.and_then(|(header, region)| Some((Mutex::at(region, header)?, region)));
    let Some((mutex, region)) = mutex else { return (Vec::new(), Need::Anybody) };
    // The first sleeper of its tenure came then: it has held it for longer.
    (vec![Holder::at(region, mutex.owner(), mutex.since())], Need::One)
}

/// Whoever is inside a lock of readers and writers: the writer, or all who read.
fn inside(object: Option<(&Header, &Arc<Region>)>) -> (Vec<Holder>, Need) {
    let words: Option<Placed<RWLockWords>> = object.and_then(|(_, region)| Placed::at(region, WORDS));
    let places = object.and_then(|(_, region)| PlacedSlice::at(region, WORDS + size_of::<RWLockWords>(), PLACES));
    let (Some(words), Some(places)) = (words, places.map(Places)) else { return (Vec::new(), Need::Anybody) };
    let writer = Owner::read(words.gate.load(Acquire)).thread;
    if writer != Life::NOBODY {
        let since = Some(words.since.load(Relaxed)).filter(|since| *since != 0);
        return (object.iter().map(|(_, region)| Holder::at(region, writer, since)).collect(), Need::One);
    }
    let reading =
        |(reader, tenure): (Owner, Tenure)| Holder { life: reader.thread, since: tenure.since, site: tenure.site };
    (places.tenures().map(reading).collect(), Need::All)
}

/// The processes that hold units of a leased semaphore: while none is free, nobody else can end the wait.
fn unit_holders(object: Option<(&Header, &Arc<Region>)>) -> (Vec<Holder>, Need) {
    let leased = object.and_then(|(header, region)| Leased::look_at(header, region));
    let Some(leased) = leased else { return (Vec::new(), Need::Anybody) };
    let holding = |(life, _, tenure): (Life, u32, Tenure)| Holder { life, since: tenure.since, site: tenure.site };
    (leased.counted_tenures().map(holding).collect(), Need::One)
}

/// Whoever leases or loans slots of a queue, and whether nobody else can end the wait.
fn slot_holders(operation: Operation, object: Option<(&Header, &Arc<Region>)>) -> (Vec<Holder>, Need) {
    let queue = object.and_then(|(header, region)| Shape::read(header.parameters).ok()?.queue(region).ok());
    let Some(queue) = queue else { return (Vec::new(), Need::Anybody) };
    let holdings = queue.holdings();
    let need = match operation {
        // Messages that are queued may be got by anybody.
        _ if queue.depth() > 0 => Need::Anybody,
        Operation::Join => Need::All,
        Operation::Put if holdings.len() >= queue.capacity() as usize => Need::One,
        _ => Need::Anybody,
    };
    let mut holders: Vec<Holder> = Vec::new();
    for holding in holdings {
        if holders.iter().all(|holder| holder.life != holding.process) {
            holders.push(Holder::of(holding.process, Some(holding.since)));
        }
    }
    (holders, need)
}

fn look(space: &Space, living: &[Living]) -> Result<Vec<Waiter>> {
    let waiting: Vec<_> = living.iter().filter_map(|living| Some((living, living.wait.as_ref()?))).collect();
    let objects = if waiting.is_empty() { HashMap::new() } else { objects(space)? };
    let mut waiters: Vec<_> = waiting
        .into_iter()
        .map(|(living, wait)| {
            let object = objects.get(&wait.object);
            let many = members(space, living.thread, wait, &objects);
            let (holders, need) = if many.is_empty() {
                holders(space, wait, object.map(|(_, header, region)| (header, region)))
            } else {
                holders_of_many(space, living.thread, wait, &many)
            };
            let object = object.map(|(entry, ..)| entry.clone());
            let members = many.into_iter().map(|(entry, header, _)| (header.kind, entry.clone())).collect();
            let (thread, process, wait) = (living.thread, living.process, wait.clone());
            Waiter { thread, process, task: None, wait, object, members, holders, need, cycle: None }
        })
        .collect();
    waiters.sort_by_key(|waiter| waiter.wait.since);
    Ok(waiters)
}

/// The objects that a thread waits for together: those that ring its bell.
fn members<'a>(space: &Space, thread: Life, wait: &Wait, objects: &'a HashMap<u64, Mapped>) -> Vec<&'a Mapped> {
    let Some(bell) = space.lives().bell_of(thread).filter(|_| wait.operation.is_of_many()) else { return Vec::new() };
    let rings = |(_, _, region): &&Mapped| {
        header::watchers(region).is_some_and(|words| words.bells[bell / 64].load(Acquire) >> (bell % 64) & 1 != 0)
    };
    let mut found: Vec<_> = objects.values().filter(rings).collect();
    // What it looked at first comes first, then by name.
    found.sort_by_key(|(entry, header, _)| (header.nonce != wait.object, entry.file.clone()));
    found
}

/// Who has to act before a wait for many ends: of any, if none of them is for anybody to make ready, one of all who hold
/// them; of all, each who alone holds one. One that has no file any more may be made ready by anybody.
fn holders_of_many(space: &Space, thread: Life, wait: &Wait, members: &[&Mapped]) -> (Vec<Holder>, Need) {
    let held = |(_, header, region): &&Mapped| {
        // What of a queue is waited for, a message or room, is not known.
        let wait = Wait { kind: header.kind, operation: Operation::Acquire, ..wait.clone() };
        match header.kind {
            Kind::Mutex | Kind::Semaphore => holders(space, &wait, Some((header, region))),
            _ => (Vec::new(), Need::Anybody),
        }
    };
    let all = wait.operation == Operation::All;
    let held: Vec<_> = members.iter().map(held).collect();
    let mut found: Vec<Holder> = Vec::new();
    for (holders, _) in held.iter().filter(|(holders, _)| !all || holders.len() == 1) {
        let new = |holder: &&Holder| holder.life != thread;
        found.extend(
            holders
                .iter()
                .filter(new)
                .filter(|one| found.iter().all(|other| other.life != one.life))
                .copied()
                .collect::<Vec<_>>(),
        );
    }
    let certain = all || (members.len() == wait.members as usize && held.iter().all(|(_, need)| *need == Need::One));
    let need = match (found.is_empty(), certain) {
        (false, true) if all => Need::All,
        (false, true) => Need::One,
        _ => Need::Anybody,
    };
    (found, need)
}

/// A file of the space and what it holds.
type Mapped = (Entry, Header, Arc<Region>);

/// The objects that have a file, by nonce.
fn objects(space: &Space) -> Result<HashMap<u64, Mapped>> {
    let mapped = space.entries()?.into_iter().filter_map(|entry| {
        // What cannot be read is shown by its kind alone.
        let (region, header) = space.map(&entry.file).ok()?;
        Some((header.nonce, (entry, header, region)))
    });
    Ok(mapped.collect())
}

/// True if those in cycles still wait as they did.
fn lasted(space: &Space, waiters: &[Waiter]) -> bool {
    if waiters.iter().all(|waiter| waiter.cycle.is_none()) {
        return true;
    }
    let now: HashMap<_, _> = space.lives().living().map(|living| (living.thread, living.wait)).collect();
    waiters.iter().filter(|waiter| waiter.cycle.is_some()).all(|waiter| {
        let wait = now.get(&waiter.thread).and_then(Option::as_ref);
        wait.is_some_and(|wait| (wait.object, wait.since) == (waiter.wait.object, waiter.wait.since))
    })
}

/// Gives those who wait for each other in a circle one number.
///
/// A process can go on while one thread of it that the space knows can.
fn mark_cycles(waiters: &mut [Waiter], living: &[Living]) {
    let mut threads: HashMap<Life, Vec<Option<usize>>> = HashMap::new();
    let place: HashMap<Life, usize> = waiters.iter().enumerate().map(|(index, one)| (one.thread, index)).collect();
    for one in living {
        // None: awake, or not in the list.
        let waiter = place.get(&one.thread).copied();
        threads.entry(one.thread).or_default().push(waiter);
        threads.entry(one.process).or_default().push(waiter);
    }
    let mut stuck: Vec<bool> = waiters.iter().map(|waiter| waiter.need != Need::Anybody).collect();
    loop {
        let free = |holder: &Holder| match threads.get(&holder.life) {
            // Nobody of it is known here: it may do anything.
            None => true,
            Some(threads) => threads.iter().any(|thread| thread.is_none_or(|index| !stuck[index])),
        };
        let goes_on = |index: &usize| {
            let Waiter { holders, need, .. } = &waiters[*index];
            stuck[*index] && if *need == Need::All { holders.iter().all(free) } else { holders.iter().any(free) }
        };
        let freed: Vec<usize> = (0..waiters.len()).filter(goes_on).collect();
        if freed.is_empty() {
            break;
        }
        for index in freed {
            stuck[index] = false;
        }
    }
    let awaited = |index: usize| {
        let lives = waiters[index].holders.iter().filter_map(|holder| threads.get(&holder.life));
        lives.flatten().filter_map(|thread| thread.filter(|index| stuck[*index]))
    };
    let reached: Vec<Vec<bool>> = (0..waiters.len())
        .map(|start| {
            let mut reached = vec![false; if stuck[start] { waiters.len() } else { 0 }];
            let mut next = if stuck[start] { vec![start] } else { Vec::new() };
            while let Some(index) = next.pop() {
                for other in awaited(index) {
                    if !std::mem::replace(&mut reached[other], true) {
                        next.push(other);
                    }
                }
            }
            reached
        })
        .collect();
    let mut cycles = 0;
    for index in 0..waiters.len() {
        if !stuck[index] || !reached[index][index] || waiters[index].cycle.is_some() {
            continue;
        }
        for other in index..waiters.len() {
            if stuck[other] && reached[index][other] && reached[other][index] {
                waiters[other].cycle = Some(cycles);
            }
        }
        cycles += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: u32 = 1 << 31;

    fn process(number: u32) -> Life {
        Life(PROCESS | number)
    }

    /// A thread of a process, and whom it waits for, if for anybody.
    type Told<'a> = (u32, u32, Option<(Need, &'a [Life])>);

    fn cycles(told: &[Told<'_>]) -> Vec<Option<usize>> {
        let wait = || Wait {
            object: 1,
            kind: Kind::Port,
            operation: Operation::Call,
            since: 0,
            lives: Vec::new(),
            members: 1,
            name: None,
        };
        let living = |(thread, owner, needs): &Told<'_>| Living {
            thread: Life(*thread),
            process: process(*owner),
            wait: needs.map(|_| wait()),
        };
        let living: Vec<_> = told.iter().map(living).collect();
        let mut waiters: Vec<_> = told
            .iter()
            .filter_map(|(thread, owner, needs)| {
                let (need, lives) = (*needs)?;
                let holders = lives.iter().map(|life| Holder::of(*life, None)).collect();
                let (thread, process) = (Life(*thread), process(*owner));
                Some(Waiter {
                    thread,
                    process,
                    task: None,
                    wait: wait(),
                    object: None,
                    members: Vec::new(),
                    holders,
                    need,
                    cycle: None,
                })
            })
            .collect();
        mark_cycles(&mut waiters, &living);
        waiters.iter().map(|waiter| waiter.cycle).collect()
    }

    #[test]
    fn two_that_wait_for_each_other_are_a_cycle_and_who_waits_for_them_is_not_in_it() {
        let told: [Told<'_>; 3] = [
            (1, 1, Some((Need::One, &[process(2)]))),
            (2, 2, Some((Need::One, &[process(1)]))),
            (3, 3, Some((Need::One, &[process(1)]))),
        ];
        assert_eq!(cycles(&told), [Some(0), Some(0), None]);
    }

    #[test]
    fn owners_of_locks_are_threads() {
        let crossed: [Told<'_>; 2] = [(1, 1, Some((Need::One, &[Life(2)]))), (2, 1, Some((Need::One, &[Life(1)])))];
        assert_eq!(cycles(&crossed), [Some(0), Some(0)]);
        // The same processes, but the lock's owner is awake.
        let awake: [Told<'_>; 3] =
            [(1, 1, Some((Need::One, &[Life(3)]))), (2, 2, Some((Need::One, &[Life(1)]))), (3, 2, None)];
        assert_eq!(cycles(&awake), [None, None]);
    }

    #[test]
    fn a_process_with_a_thread_that_can_go_on_is_not_stuck() {
        let served: [Told<'_>; 3] = [
            (1, 1, Some((Need::One, &[process(2)]))),
            (2, 2, Some((Need::One, &[process(1)]))),
            (3, 2, Some((Need::Anybody, &[]))),
        ];
        assert_eq!(cycles(&served), [None, None, None]);
    }

    #[test]
    fn one_alone_can_wait_for_itself() {
        assert_eq!(cycles(&[(1, 1, Some((Need::All, &[process(1)])))]), [Some(0)]);
    }

    #[test]
    fn who_needs_all_is_stuck_by_one_and_who_needs_one_is_freed_by_one() {
        let told = |need| -> [Told<'_>; 3] {
            [(1, 1, Some((need, &[Life(2), Life(3)]))), (2, 2, Some((Need::One, &[Life(1)]))), (3, 3, None)]
        };
        assert_eq!(cycles(&told(Need::All)), [Some(0), Some(0)]);
        assert_eq!(cycles(&told(Need::One)), [None, None]);
    }

    #[test]
    fn somebody_unknown_may_do_anything() {
        assert_eq!(cycles(&[(1, 1, Some((Need::One, &[process(9)])))]), [None]);
    }

    #[test]
    fn two_cycles_have_two_numbers() {
        let told: [Told<'_>; 4] = [
            (1, 1, Some((Need::One, &[Life(2)]))),
            (2, 2, Some((Need::One, &[Life(1)]))),
            (3, 3, Some((Need::One, &[Life(4)]))),
            (4, 4, Some((Need::One, &[Life(3)]))),
        ];
        assert_eq!(cycles(&told), [Some(0), Some(0), Some(1), Some(1)]);
    }
}
