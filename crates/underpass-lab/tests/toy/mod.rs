//! Programs of a few words, which need no interpreter: each word is one scheduling point, each task a process.
#![allow(dead_code, reason = "each test uses some of it")]

use underpass_lab::choice::{Object, Pending, Point, Task};
use underpass_lab::record::{End, Manner};
use underpass_lab::schedule::{Next, Schedule};
use underpass_lab::world::Traits;

/// One word of a task.
#[derive(Debug, Clone, Copy)]
pub enum Word {
    /// Reads a variable into the task's register.
    Read(u32),
    /// Writes the task's register, and this in addition, to a variable.
    Write(u32, i64),
    /// Doubles a variable and adds this, at once: its value tells the order of all who did.
    Shift(u32, i64),
    /// Takes a lock; sleeps while it is taken.
    Lock(u32),
    /// The same, for so many nanoseconds at most; a time-out skips to the task's end.
    LockFor(u32, u64),
    /// Gives a lock back, and wakes one.
    Unlock(u32),
    /// Sleeps until it is told to, without a look at anything: the lost wake-up's better half.
    Sleep(u32),
    /// Wakes who sleeps there.
    Wake(u32),
}

impl Word {
    fn object(self) -> u32 {
        match self {
            Self::Read(object)
            | Self::Write(object, _)
            | Self::Shift(object, _)
            | Self::Lock(object)
            | Self::LockFor(object, _)
            | Self::Unlock(object)
            | Self::Sleep(object)
            | Self::Wake(object) => object,
        }
    }

    fn pending(self) -> Pending {
        let manner = if matches!(self, Self::Read(_)) { Manner::Look } else { Manner::Change };
        Pending { point: Point::Operation, object: Some(Object(self.object())), manner }
    }
}

/// The values of the variables at the end, by their numbers; a lock is 1 while it is taken.
pub type Values = Vec<i64>;

/// Runs the next schedule of a program; none: there is none. `mortal` processes may be killed.
pub fn run(schedule: &mut Schedule, program: &[&[Word]], mortal: bool) -> Option<(End, Values)> {
    if !schedule.begin() {
        return None;
    }
    let words = program.iter().flat_map(|words| words.iter());
    let objects = words.map(|word| word.object() + 1).max().unwrap_or(0);
    for object in 0..objects as usize {
        schedule.world.add_object(object..object + 1);
    }
    let mut values = vec![0; objects as usize];
    let mut registers = vec![0; program.len()];
    let mut counters = vec![0; program.len()];
    for _ in program {
        let process = schedule.world.add_process(Traits { mortal, servant: false });
        schedule.world.add_task(process);
    }
    let mut next = schedule.advance();
    while next != Next::Over {
        let task = schedule.running().expect("somebody runs");
        next = step(schedule, program, task, &mut values, &mut registers, &mut counters);
    }
    Some((schedule.end(false), values))
}

fn step(
    schedule: &mut Schedule,
    program: &[&[Word]],
    task: Task,
    values: &mut [i64],
    registers: &mut [i64],
    counters: &mut [usize],
) -> Next {
    let index = task.index();
    let words = program[index];
    // The counter is one ahead: the first step only comes to the first word.
    if counters[index] > 0 {
        let word = words[counters[index] - 1];
        let object = word.object() as usize;
        let before = values[object];
        match word {
            Word::Read(_) => registers[index] = values[object],
            Word::Write(_, more) => values[object] = registers[index] + more,
            Word::Shift(_, more) => values[object] = values[object] * 2 + more,
            Word::Lock(_) | Word::LockFor(..) if values[object] == 0 => values[object] = 1,
            Word::Lock(_) if schedule.bars() => return schedule.bar(Object(word.object()), word.pending()),
            Word::Lock(_) | Word::LockFor(..) => {
                if schedule.world.pending()[index].point == Point::Awake
                    && schedule.world.woken(task) == underpass_lab::world::Woken::Expired
                {
                    schedule.finish(task);
                    return schedule.advance();
                }
                let until = if let Word::LockFor(_, time) = word { Some(time) } else { None };
                schedule.world.sleep(
                    task,
                    std::iter::once(object),
                    std::iter::once(usize::MAX - index),
                    std::iter::empty(),
                    until,
                );
                return schedule.arrive(Pending { point: Point::Awake, ..word.pending() });
            }
            Word::Unlock(_) => {
                values[object] = 0;
                schedule.wake(object, 1);
            }
            Word::Sleep(_) if schedule.world.pending()[index].point == Point::Awake => {}
            Word::Sleep(_) => {
                schedule.world.sleep(
                    task,
                    std::iter::once(object),
                    std::iter::once(usize::MAX - index),
                    std::iter::empty(),
                    None,
                );
                return schedule.arrive(Pending { point: Point::Awake, ..word.pending() });
            }
            Word::Wake(_) => {
                schedule.wake(object, u32::MAX);
            }
        }
        match (word, before == 0, values[object] == 0) {
            (Word::Lock(_), true, false) => schedule.take(Object(word.object())),
            (_, true, false) => schedule.grab(Object(word.object())),
            (_, false, true) => schedule.give(Object(word.object())),
            _ => {}
        }
    }
    let Some(word) = words.get(counters[index]) else {
        schedule.finish(task);
        return schedule.advance();
    };
    counters[index] += 1;
    schedule.arrive(word.pending())
}
