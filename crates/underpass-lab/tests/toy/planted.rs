//! Toys with a bug each, as the literature has them: SCTBench's twostage and reorder, ABBA, lost updates and wakes, deaths.

use crate::toy::Word::{self, Lock, Read, Shift, Sleep, Unlock, Wake, Write};
use crate::toy::{Values, run};
use underpass_lab::record::End;
use underpass_lab::schedule::{Budget, Schedule};
use underpass_lab::strategy::named;

/// A program with a bug.
pub struct Planted {
    pub name: &'static str,
    tasks: Vec<Vec<Word>>,
    kills: u32,
    is_bug: fn(End, &Values) -> bool,
}

impl Planted {
    /// The number of the first schedule that has the bug, from 1.
    pub fn found_by(&self, strategy: &str, seed: u64, limit: usize) -> Option<usize> {
        let budget = Budget { kills: self.kills, faults: 0, early: true, preemptions: None, steps: 1000 };
        let mut schedule = Schedule::new(named(strategy, seed).expect("a strategy"), budget);
        let tasks: Vec<&[Word]> = self.tasks.iter().map(Vec::as_slice).collect();
        (1..=limit).find(|_| {
            let (end, values) = run(&mut schedule, &tasks, self.kills > 0).expect("there is always another");
            (self.is_bug)(end, &values)
        })
    }
}

/// Steps on an object that nobody else uses.
fn noise(object: u32, count: usize) -> impl Iterator<Item = Word> {
    std::iter::repeat_n(Write(object, 0), count)
}

fn deadlock(end: End, _: &Values) -> bool {
    end == End::Deadlock
}

/// All of them.
pub fn all() -> Vec<Planted> {
    vec![
        Planted {
            name: "lost update",
            tasks: vec![vec![Read(0), Write(0, 1)]; 2],
            kills: 0,
            is_bug: |_, values| values[0] < 2,
        },
        Planted {
            name: "ABBA with noise",
            tasks: vec![
                [Lock(0), Lock(1), Unlock(1), Unlock(0)].into_iter().chain(noise(2, 20)).collect(),
                noise(3, 20).chain([Lock(1), Lock(0), Unlock(0), Unlock(1)]).collect(),
                noise(4, 20).collect(),
                noise(5, 20).collect(),
            ],
            kills: 0,
            is_bug: deadlock,
        },
        Planted {
            name: "lost wake-up",
            tasks: vec![vec![Sleep(0)], noise(1, 6).chain([Wake(0)]).collect()],
            kills: 0,
            is_bug: deadlock,
        },
        Planted {
            name: "killed lock holder",
            tasks: vec![[Lock(0), Read(1), Write(1, 1), Unlock(0)].repeat(2); 3],
            kills: 1,
            is_bug: |end, values| end == End::Deadlock && values[0] == 1,
        },
        Planted {
            name: "killed taker",
            tasks: vec![vec![Lock(0), Unlock(0)]; 3],
            kills: 1,
            is_bug: |end, values| end == End::Deadlock && values[0] == 0,
        },
        two_stage(20),
        reorder(10),
        Planted {
            name: "alternation of depth 10",
            tasks: vec![vec![Shift(0, 0); 5], vec![Shift(0, 1); 5]],
            kills: 0,
            is_bug: |_, values| values[0] == 0b01_0101_0101,
        },
    ]
}

/// Each writer sets a variable under one lock, and from it another under another. The reader sees one stage without the other.
fn two_stage(writers: usize) -> Planted {
    let stages = vec![Lock(0), Write(1, 1), Unlock(0), Lock(2), Read(1), Write(3, 1), Unlock(2)];
    let reads = vec![Lock(0), Read(1), Unlock(0), Write(4, 0), Lock(2), Read(3), Unlock(2), Write(5, 0)];
    let mut tasks = vec![stages; writers];
    tasks.push(reads);
    let is_bug = |_, values: &Values| values[4] == 1 && values[5] == 0;
    Planted { name: "two-stage with 20 writers", tasks, kills: 0, is_bug }
}

/// Each setter sets one variable, then another. The checker sees the first without the second.
fn reorder(setters: usize) -> Planted {
    let mut tasks = vec![vec![Write(0, 1), Write(1, 1)]; setters];
    tasks.push(vec![Read(0), Write(2, 0), Read(1), Write(3, 0)]);
    let is_bug = |_, values: &Values| values[2] == 1 && values[3] == 0;
    Planted { name: "reorder with 10", tasks, kills: 0, is_bug }
}
