//! The words of what the tasks of an event loop wait for: a record each, in a block of the thread that runs the loop.
//!
//! One writer, that thread. A record is a [`WaitWords`] with who wrote it, the task's name and the line on which it awaits: all
//! under the one sequence count.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed},
};

use crate::life::Life;
use crate::place::Shared;
use crate::waits::{Wait, WaitWords};

/// Tasks of one thread that have a record; more are only counted.
pub const TASKS: usize = 64;
/// Threads of a space that have a block at one time.
pub const BLOCKS: usize = 512;
/// Words of a file's name: its end.
const FILE: usize = 6;
/// Words of a task's name: its beginning.
const NAME: usize = 8;
const WORD: usize = size_of::<u64>();

/// What one task waits for.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct TaskWords {
    /// Whose the record is: a thread's life. One that is not the block's owner left it when it died.
    thread: AtomicU32,
    /// The line on which it awaits; 0: of no file.
    line: AtomicU32,
    wait: WaitWords,
    /// The end of the file's name, in UTF-8; the rest is 0.
    file: [AtomicU64; FILE],
    /// The beginning of the task's name, likewise.
    name: [AtomicU64; NAME],
}

/// The tasks of one thread.
///
/// ```text
/// owner   0, or a life that has ended: anybody's
/// more     63       32 31        0
///         ┌───────────┬───────────┐   of another thread than the owner: as good as 0
///         │  thread   │   count   │   count > 0: so many tasks wait without a record
///         └───────────┴───────────┘
/// ```
#[derive(Debug)]
#[repr(C, align(64))]
pub struct TaskBlockWords {
    /// Whose it is: a thread's life.
    pub owner: AtomicU32,
    /// Where the owner looks for a free record first: its own.
    next: AtomicU32,
    more: AtomicU64,
    /// When the first of those came, while there are any.
    more_since: AtomicU64,
    tasks: [TaskWords; TASKS],
}

// SAFETY: S1, atomics only.
unsafe impl Shared for TaskBlockWords {}

/// A task that waits, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskWait {
    /// For what.
    pub wait: Wait,
    /// The beginning of its name.
    pub name: String,
    /// The end of the name of the file in which it awaits; empty: unknown.
    pub file: String,
    /// The line there.
    pub line: u32,
}

/// Which record was written, and by which write of it; none: it was only counted.
pub type Place = Option<(usize, u32)>;

impl TaskBlockWords {
    /// Takes a free record for a task of `thread`, whose block this is, and has it written; counts it if none is free.
    pub(crate) fn begin(
        &self,
        thread: Life,
        since: u64,
        (name, file, line): (&str, &str, u32),
        write: impl FnOnce(&WaitWords, &dyn Fn()),
    ) -> Place {
        let first = self.next.load(Relaxed) as usize;
        let free = (0..TASKS).map(|step| (first + step) % TASKS).find(|index| {
            let task = &self.tasks[*index];
            task.thread.load(Relaxed) != thread.0 || task.wait.object().is_none()
        });
        let Some(index) = free else {
            self.count_one_more(thread, since);
            return None;
        };
        self.next.store(((index + 1) % TASKS) as u32, Relaxed);
        let task = &self.tasks[index];
        write(&task.wait, &|| {
            task.thread.store(thread.0, Relaxed);
            task.line.store(line, Relaxed);
            put(&task.file, end_of(file, FILE * WORD));
            put(&task.name, beginning_of(name, NAME * WORD));
        });
        Some((index, task.wait.write_number()))
    }

    /// Ends what [`Self::begin`] began for that thread. By any thread of its process: a task may be dropped elsewhere, and later than
    /// its loop, when the block and the record may be another's.
    pub(crate) fn end(&self, thread: Life, place: Place) {
        let Some((index, number)) = place else {
            // One that was counted for another owner is counted no more.
            let one_less = |more: u64| (more >> 32 == u64::from(thread.0) && more as u32 > 0).then(|| more - 1);
            let _ = self.more.fetch_update(Relaxed, Relaxed, one_less);
            return;
        };
        let task = &self.tasks[index];
        if task.wait.write_number() == number && task.thread.load(Relaxed) == thread.0 {
            task.wait.clear();
            self.next.store(index as u32, Relaxed);
        }
    }

    fn count_one_more(&self, thread: Life, since: u64) {
        let mine = u64::from(thread.0) << 32;
        let counted = |more: u64| if more & !u64::from(u32::MAX) == mine { more } else { mine };
        let before = self.more.fetch_update(Relaxed, Relaxed, |more| Some(counted(more) + 1));
        if before.is_ok_and(|more| counted(more) == mine) {
            self.more_since.store(since, Relaxed);
        }
    }

    /// What the tasks of that thread wait for, as far as they have records.
    pub(crate) fn tasks_of(&self, thread: Life) -> impl Iterator<Item = TaskWait> + '_ {
        self.tasks.iter().filter_map(move |task| {
            let beside = || {
                let own = task.thread.load(Relaxed) == thread.0;
                (own, task.line.load(Relaxed), load(&task.file), load(&task.name))
            };
            let (wait, (own, line, file, name)) = task.wait.read_beside(beside)?;
            own.then(|| TaskWait { wait, name: text(&name), file: text(&file), line })
        })
    }

    /// How many more tasks of that thread wait, and since when the first of them, at most.
    pub(crate) fn more_of(&self, thread: Life) -> Option<(u32, u64)> {
        let more = self.more.load(Acquire);
        (more >> 32 == u64::from(thread.0) && more as u32 > 0).then(|| (more as u32, self.more_since.load(Relaxed)))
    }
}

fn put<const WORDS: usize>(words: &[AtomicU64; WORDS], text: &str) {
    let mut bytes = text.bytes();
    for word in words {
        let next: [u8; WORD] = std::array::from_fn(|_| bytes.next().unwrap_or(0));
        word.store(u64::from_ne_bytes(next), Relaxed);
    }
}

fn load<const WORDS: usize>(words: &[AtomicU64; WORDS]) -> [u64; WORDS] {
    std::array::from_fn(|index| words[index].load(Relaxed))
}

/// What the words hold, with what is no letter in it escaped: the bytes are another process's.
fn text(words: &[u64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).escape_debug().to_string()
}

/// So many bytes of the beginning of a text, or fewer, whole letters.
fn beginning_of(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// So many bytes of its end.
fn end_of(text: &str, most: usize) -> &str {
    let start = text.len().saturating_sub(most);
    let start = (start..=text.len()).find(|start| text.is_char_boundary(*start)).unwrap_or(text.len());
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Kind;
    use crate::operation::Operation;

    const ME: Life = Life(7);

    fn block() -> Box<TaskBlockWords> {
        // SAFETY: S1, atomics only, of which zeroes are values.
        unsafe { Box::new(std::mem::zeroed()) }
    }

    fn begin(block: &TaskBlockWords, thread: Life, name: &str) -> Place {
        block.begin(thread, 5, (name, "worker.py", 31), |words, beside| {
            words.begin_beside(9, Kind::Queue, Operation::Get, 5, &[], beside);
        })
    }

    fn names(block: &TaskBlockWords, thread: Life) -> Vec<String> {
        block.tasks_of(thread).map(|task| task.name).collect()
    }

    #[test]
    fn what_is_begun_is_read_until_it_ends() {
        let block = block();
        let (first, second) = (begin(&block, ME, "one"), begin(&block, ME, "two"));
        let told: Vec<_> = block.tasks_of(ME).collect();
        assert_eq!((told[0].wait.object, told[0].file.as_str(), told[0].line), (9, "worker.py", 31));
        assert_eq!(names(&block, ME), ["one", "two"]);
        block.end(ME, first);
        assert_eq!(names(&block, ME), ["two"]);
        block.end(ME, second);
        assert_eq!(names(&block, ME), [""; 0]);
    }

    #[test]
    fn more_than_there_are_records_are_counted_and_a_record_that_is_free_is_used_again() {
        let block = block();
        let mut places: Vec<_> = (0..TASKS).map(|index| begin(&block, ME, &index.to_string())).collect();
        assert_eq!(block.more_of(ME), None);
        let counted = [begin(&block, ME, "x"), begin(&block, ME, "y")];
        assert_eq!((counted, block.more_of(ME)), ([None, None], Some((2, 5))));
        block.end(ME, places.remove(30));
        assert!(begin(&block, ME, "again").is_some_and(|(index, _)| index == 30));
        for place in counted {
            block.end(ME, place);
        }
        assert_eq!(block.more_of(ME), None);
        block.end(ME, None);
        assert_eq!(block.more_of(ME), None);
    }

    #[test]
    fn what_the_dead_left_is_nobodys_and_what_ends_late_ends_nothing_of_the_next_owners() {
        let (block, next) = (block(), Life(8));
        let places: Vec<_> = (0..=TASKS).map(|_| begin(&block, ME, "dead")).collect();
        assert_eq!((names(&block, next), block.more_of(next)), (Vec::new(), None));
        for _ in 0..=TASKS {
            begin(&block, next, "new");
        }
        for place in places {
            block.end(ME, place);
        }
        assert_eq!((names(&block, next).len(), block.more_of(next)), (TASKS, Some((1, 5))));
        assert_eq!(names(&block, ME), [""; 0]);
    }

    #[test]
    fn of_a_long_name_the_beginning_is_kept_and_of_a_long_file_the_end_whole_letters() {
        assert_eq!((beginning_of("räder", 2), end_of("räder", 4)), ("r", "der"));
        assert_eq!((beginning_of("rad", 9), end_of("rad", 9)), ("rad", "rad"));
        let words = [AtomicU64::new(0), AtomicU64::new(0)];
        put(&words, "a\nb");
        assert_eq!(text(&load(&words)), "a\\nb");
    }
}
