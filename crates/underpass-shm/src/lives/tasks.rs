//! What the tasks of event loops wait for: a block of records for each thread that runs one, made when a task of it waits for
//! the first time. Nobody decides anything by them.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{Lives, TASK_TABLE};
use crate::header::Kind;
use crate::life::Life;
use crate::operation::Operation;
use crate::tasks::{BLOCKS, Place, TaskBlockWords, TaskWait};
use crate::{Error, Result, forks, room};

/// Where it is written that a task waits, until [`Lives::task_waits_no_more`].
#[derive(Debug)]
pub struct TaskTicket {
    block: usize,
    thread: Life,
    epoch: u32,
    place: Place,
}

/// What the tasks of one thread wait for.
#[derive(Debug, Clone)]
pub struct LoopWaits {
    /// The thread that runs them.
    pub thread: Life,
    /// Its process.
    pub process: Life,
    /// Those that have a record.
    pub tasks: Vec<TaskWait>,
    /// How many more there are, and since when the first of them waits.
    pub more: Option<(u32, u64)>,
}

impl Lives {
    /// Says what a task of the calling thread is about to wait for: which object, by which operation, since when; the lives that
    /// must act; the task's name, and file and line.
    pub fn task_waits(
        &self,
        (object, kind, operation, since): (u64, Kind, Operation, u64),
        lives: &[Life],
        who: (&str, &str, u32),
    ) -> Result<TaskTicket> {
        let thread = self.me()?.thread;
        let block = self.my_block(thread)?;
        let place = self.tasks[block].begin(thread, since, who, |words, beside| {
            words.begin_beside(object, kind, operation, since, lives, beside);
        });
        Ok(TaskTicket { block, thread, epoch: forks::epoch(), place })
    }

    /// Takes it back. A fork's copy is not the task's.
    pub fn task_waits_no_more(&self, ticket: &TaskTicket) {
        if ticket.epoch == forks::epoch() {
            self.tasks[ticket.block].end(ticket.thread, ticket.place);
        }
    }

    /// The threads that live here and whose tasks wait, by the kernel's word, and for what.
    pub fn loops(&self) -> impl Iterator<Item = LoopWaits> + '_ {
        self.known_blocks().iter().filter_map(|block| {
            let thread = Life(block.owner.load(Acquire));
            let (tasks, more) = (block.tasks_of(thread).collect::<Vec<_>>(), block.more_of(thread));
            let process = self.process_of(thread);
            // Asked last: whose life goes on has not made room for another one meanwhile.
            let waits = !tasks.is_empty() || more.is_some();
            (thread != Life::NOBODY && waits && self.alive(thread)).then_some(LoopWaits {
                thread,
                process,
                tasks,
                more,
            })
        })
    }

    fn known_blocks(&self) -> &[TaskBlockWords] {
        &self.tasks[..(self.words.task_blocks.load(Acquire) as usize).min(self.tasks.len())]
    }

    /// The calling thread's block, which it keeps until it ends.
    fn my_block(&self, me: Life) -> Result<usize> {
        loop {
            let blocks = self.known_blocks();
            if let Some(mine) = blocks.iter().position(|block| block.owner.load(Relaxed) == me.0) {
                return Ok(mine);
            }
            let known = blocks.len();
            let claimed = blocks.iter().position(|block| {
                let owner = block.owner.load(Acquire);
                (owner == 0 || !self.alive(Life(owner)))
                    && block.owner.compare_exchange(owner, me.0, AcqRel, Relaxed).is_ok()
            });
            if let Some(index) = claimed {
                return Ok(index);
            }
            if known == BLOCKS {
                return Err(Error::too_many_lives(&self.what, "event loop", BLOCKS as u32));
            }
            self.add_block(known)?;
        }
    }

    /// Reserves one more, if nobody else has. Zeroed bytes are a block of nobody's.
    fn add_block(&self, known: usize) -> Result<()> {
        self.grow(|file| {
            if self.words.task_blocks.load(Acquire) as usize == known {
                let bytes = size_of::<TaskBlockWords>();
                let first = TASK_TABLE + known * bytes;
                room::reserve(file, first as u64..(first + bytes) as u64, &self.what, &room::alone)?;
                self.words.task_blocks.store(known as u32 + 1, Release);
            }
            Ok(())
        })
    }
}
