//! How many steps each task still has before it, as far as earlier schedules tell.

use crate::choice::{Object, Task};
use crate::strategy::census::Census;

/// Steps that are left, of one schedule: all, or those at one object.
#[derive(Debug, Default)]
pub struct Remaining {
    /// By [`Task::index`]. Those of a task that has not been started are with whoever starts it.
    left: Vec<u32>,
    /// What a task brings when it is started, its own and that of those whom it starts.
    brought: Vec<u32>,
    parents: Vec<Option<Task>>,
    born: usize,
}

impl Remaining {
    /// What is left before the first step.
    pub fn begin(&mut self, census: &Census, object: Option<Object>) {
        let tasks = || (0..census.tasks() as u32).map(Task);
        self.parents.clear();
        self.parents.extend(tasks().map(|task| census.parent(task)));
        self.brought.clear();
        self.brought.extend(tasks().map(|task| census.steps(task, object)));
        // Whoever starts a task was started before it.
        for task in (0..self.brought.len()).rev() {
            if let Some(parent) = self.parents[task] {
                self.brought[parent.index()] += self.brought[task];
            }
        }
        self.left.clear();
        self.left.extend_from_slice(&self.brought);
        self.born = 0;
    }

    /// There are so many tasks now.
    pub fn admit(&mut self, tasks: usize) {
        if self.left.len() < tasks {
            self.left.resize(tasks, 0);
        }
        for task in self.born..tasks {
            if let Some(parent) = self.parents.get(task).copied().flatten() {
                let left = &mut self.left[parent.index()];
                *left = left.saturating_sub(self.brought[task]);
            }
        }
        self.born = self.born.max(tasks);
    }

    /// A task has made one of the steps that are counted.
    pub fn made(&mut self, task: Task) {
        let left = &mut self.left[task.index()];
        *left = left.saturating_sub(1);
    }

    /// What is left for a task.
    #[must_use]
    pub fn of(&self, task: Task) -> usize {
        self.left[task.index()] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{Choice, Pending, Process};
    use crate::record::{End, Record};

    #[test]
    fn who_starts_a_task_has_its_steps_before_it() {
        // Task 0 makes two steps; by the first it starts task 1, which makes three.
        let mut record = Record::default();
        let mut running = None;
        for (task, tasks) in [(0, 1), (1, 2), (1, 2), (0, 2), (1, 2)] {
            let choice = Choice::Run(Task(task));
            record.push(choice, running, &[choice], &vec![Pending::START; tasks]);
            running = Some(Task(task));
        }
        record.processes.extend([Process(0), Process(1)]);
        record.end = End::Done;
        let mut census = Census::default();
        census.learn(&record);
        let mut remaining = Remaining::default();
        remaining.begin(&census, None);
        remaining.admit(1);
        assert_eq!(remaining.of(Task(0)), 5);
        remaining.made(Task(0));
        remaining.admit(2);
        assert_eq!((remaining.of(Task(0)), remaining.of(Task(1))), (1, 3));
    }
}
