//! What a kernel knows: who lives, who sleeps on which words, what time it is.
//!
//! Words are known by their addresses. A life is a number: [`World::thread_life`] of a task, [`World::process_life`] of a
//! process. The host itself, which sets a program up and looks at its end, is a process of its own: it never sleeps and never dies.

use std::ops::Range;

use crate::choice::{Object, Pending, Process, Task};

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// A word was woken, a life ended, or there was no cause: look again.
    Look,
    /// The baton was woken.
    Baton,
    /// The deadline has passed.
    Expired,
}

/// A sleep: the words and lives that end it.
#[derive(Debug, Default)]
struct Sleep {
    words: Vec<usize>,
    batons: Vec<usize>,
    lives: Vec<u32>,
    /// When it began, among all sleeps.
    since: u64,
    until: Option<u64>,
}

#[derive(Debug)]
struct TaskState {
    process: Process,
    /// It sleeps, if `asleep`; its lists are used again.
    sleep: Sleep,
    asleep: bool,
    /// The sleep is none of the kernel's: it stands back from a lock.
    barred: Option<Object>,
    woken: Option<Woken>,
    /// When something is due in it that it need not sleep for.
    alarm: Option<u64>,
    baton: usize,
    finished: bool,
}

/// A process, as whoever started it wants it.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// It may be killed.
    pub mortal: bool,
    /// It may be left asleep at the end.
    pub servant: bool,
}

/// What a process can do to another, which comes to it at its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// SIGKILL.
    Dies,
    /// SIGSTOP.
    Stops,
}

/// Who has stopped a process, and lets it go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// The schedule: a fault.
    ByFault,
    /// A process of the program.
    BySignal,
}

#[derive(Debug)]
struct ProcessState {
    traits: Traits,
    dead: bool,
    stopped: Option<Stopped>,
    /// What one of the program has done to it, and it has not come to yet.
    fate: Option<Fate>,
    /// It has come beyond the start of one of its tasks.
    begun: bool,
}

/// The state of the simulated kernel.
#[derive(Debug, Default)]
pub struct World {
    now: u64,
    sleeps: u64,
    tasks: Vec<TaskState>,
    of_tasks: Vec<Process>,
    pending: Vec<Pending>,
    processes: Vec<ProcessState>,
    objects: Vec<Range<usize>>,
    /// Who was woken since somebody asked.
    roused: Vec<Task>,
    /// Memory beside an object's own that belongs to it.
    annexed: Vec<(Range<usize>, Object)>,
}

/// How long after its deadline a time-out fires, in nanoseconds.
const LATE: u64 = 1_000;
/// When a world begins.
const BIRTH: u64 = 1_000_000_000;
/// Marks the lives of processes.
const PROCESS_BIT: u32 = 1 << 31;
/// The host's life; tasks and processes follow.
const HOST: u32 = 1;

/// The life of a process; of the host's without one.
fn life_of(process: Option<Process>) -> u32 {
    PROCESS_BIT | (HOST + process.map_or(0, |process| process.0 + 1))
}

impl World {
    /// An empty world.
    pub fn clear(&mut self) {
        // Not 0, which stands for a time that is not known.
        self.now = BIRTH;
        self.sleeps = 0;
        self.tasks.clear();
        self.of_tasks.clear();
        self.pending.clear();
        self.processes.clear();
        self.objects.clear();
        self.roused.clear();
        self.annexed.clear();
    }

    /// Nanoseconds of the virtual clock.
    #[must_use]
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The life of a thread; of the host's without a task.
    #[must_use]
    pub fn thread_life(task: Option<Task>) -> u32 {
        HOST + task.map_or(0, |task| task.0 + 1)
    }

    /// The life of the process of a task; of the host's without one.
    #[must_use]
    pub fn process_life(&self, task: Option<Task>) -> u32 {
        life_of(task.map(|task| self.tasks[task.index()].process))
    }

    /// Which task's thread that life is; none: a process's, or the host's.
    #[must_use]
    pub fn task_of(life: u32) -> Option<Task> {
        if life & PROCESS_BIT != 0 { None } else { life.checked_sub(HOST + 1).map(Task) }
    }

    /// Whose life that is; none: the host's, or nobody's.
    #[must_use]
    pub fn process_of(&self, life: u32) -> Option<Process> {
        let number = (life & !PROCESS_BIT).checked_sub(HOST + 1)?;
        if life & PROCESS_BIT == 0 { self.of_tasks.get(number as usize).copied() } else { Some(Process(number)) }
    }

    /// Says whether that life goes on.
    #[must_use]
    pub(crate) fn alive(&self, life: u32) -> bool {
        let number = life & !PROCESS_BIT;
        if number <= HOST {
            return number == HOST;
        }
        let index = (number - HOST - 1) as usize;
        if life & PROCESS_BIT == 0 {
            self.tasks.get(index).is_some_and(|task| !task.finished && !self.is_dead(task.process))
        } else {
            let here = |task: &&TaskState| task.process.index() == index;
            index < self.processes.len()
                && !self.processes[index].dead
                && self.tasks.iter().filter(here).any(|task| !task.finished)
        }
    }

    /// Says whether that life has come to its end by itself; one that was killed has not, nor has the host's.
    #[must_use]
    pub fn has_ended(&self, life: u32) -> bool {
        let Some(process) = self.process_of(life) else { return false };
        if life & PROCESS_BIT == 0 {
            return self.tasks[(life - HOST - 1) as usize].finished;
        }
        !self.is_dead(process) && !self.alive(life)
    }

    /// A new process, which has no task yet.
    pub fn add_process(&mut self, traits: Traits) -> Process {
        self.processes.push(ProcessState { traits, dead: false, stopped: None, fate: None, begun: false });
        Process(self.processes.len() as u32 - 1)
    }

    /// A new task of a process.
    pub fn add_task(&mut self, process: Process) -> Task {
        self.tasks.push(TaskState {
            process,
            sleep: Sleep::default(),
            asleep: false,
            barred: None,
            woken: None,
            alarm: None,
            baton: 0,
            finished: false,
        });
        self.of_tasks.push(process);
        self.pending.push(Pending::START);
        Task(self.tasks.len() as u32 - 1)
    }

    /// A new object at these addresses.
    pub fn add_object(&mut self, addresses: Range<usize>) -> Object {
        self.objects.push(addresses);
        Object(self.objects.len() as u32 - 1)
    }

    /// What lies at these addresses is that object's, too.
    pub fn annex(&mut self, object: Object, addresses: Range<usize>) {
        self.annexed.push((addresses, object));
    }

    /// The object that an address lies in.
    #[must_use]
    pub fn object_at(&self, address: usize) -> Option<Object> {
        let own = self.objects.iter().position(|addresses| addresses.contains(&address));
        let annexed = || self.annexed.iter().find(|(addresses, _)| addresses.contains(&address));
        own.map(|index| Object(index as u32)).or_else(|| annexed().map(|(_, object)| *object))
    }

    /// Every task, in order.
    pub fn tasks(&self) -> impl Iterator<Item = Task> + use<> {
        (0..self.tasks.len() as u32).map(Task)
    }

    /// Every task of a process, in order.
    pub(crate) fn tasks_of(&self, process: Process) -> impl Iterator<Item = Task> + '_ {
        self.tasks().filter(move |task| self.of_tasks[task.index()] == process)
    }

    /// Every process, in order.
    pub fn processes(&self) -> impl Iterator<Item = Process> + use<> {
        (0..self.processes.len() as u32).map(Process)
    }

    /// Which process each task belongs to, by [`Task::index`].
    #[must_use]
    pub fn of_tasks(&self) -> &[Process] {
        &self.of_tasks
    }

    /// What each task does next, by [`Task::index`].
    #[must_use]
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Notes what a task does when it next runs.
    pub fn set_pending(&mut self, task: Task, pending: Pending) {
        self.pending[task.index()] = pending;
        let process = self.of_tasks[task.index()];
        self.processes[process.index()].begun = true;
    }

    /// The process was killed.
    #[must_use]
    pub fn is_dead(&self, process: Process) -> bool {
        self.processes[process.index()].dead
    }

    /// The process is stopped, and the schedule lets it go on.
    #[must_use]
    pub fn is_stopped(&self, process: Process) -> bool {
        self.processes[process.index()].stopped == Some(Stopped::ByFault)
    }

    /// The task has returned.
    #[must_use]
    pub fn is_finished(&self, task: Task) -> bool {
        self.tasks[task.index()].finished
    }

    /// The task has neither returned nor been killed.
    #[must_use]
    pub fn is_left(&self, task: Task) -> bool {
        let task = &self.tasks[task.index()];
        !task.finished && !self.is_dead(task.process)
    }

    /// The end of the schedule need not wait for it.
    #[must_use]
    pub fn is_servant(&self, task: Task) -> bool {
        self.processes[self.of_tasks[task.index()].index()].traits.servant
    }

    /// It sleeps, and nothing has woken it.
    #[must_use]
    pub fn is_asleep(&self, task: Task) -> bool {
        self.tasks[task.index()].asleep
    }

    /// It can go on when it is let.
    #[must_use]
    pub fn can_run(&self, task: Task) -> bool {
        let process = self.of_tasks[task.index()];
        self.is_left(task) && (self.fate(process).is_some() || (!self.is_asleep(task) && self.goes(process)))
    }

    /// Nobody has stopped it.
    pub(crate) fn goes(&self, process: Process) -> bool {
        self.processes[process.index()].stopped.is_none()
    }

    /// Until when it sleeps at most, or when something is due in it.
    #[must_use]
    pub fn due(&self, task: Task) -> Option<u64> {
        let state = &self.tasks[task.index()];
        let due = if state.asleep { state.sleep.until } else { state.alarm };
        due.filter(|_| self.is_left(task) && self.goes(state.process))
    }

    /// Has a time pass while a task need not sleep, at whichever point: what is due then it finds out by itself.
    pub fn set_alarm(&mut self, task: Task, time: Option<u64>) {
        self.tasks[task.index()].alarm = time;
    }

    /// A death of it, now, is one that somebody could notice.
    #[must_use]
    pub fn can_die(&self, process: Process) -> bool {
        let state = &self.processes[process.index()];
        let here = |task: &&TaskState| task.process == process;
        state.traits.mortal && state.begun && !state.dead && self.tasks.iter().filter(here).any(|task| !task.finished)
    }

    /// The object on whose words a task sleeps.
    #[must_use]
    pub fn sleeps_on(&self, task: Task) -> Option<Object> {
        let state = &self.tasks[task.index()];
        if state.barred.is_some() {
            return state.barred;
        }
        let words = state.asleep.then_some(&state.sleep)?;
        words.words.iter().chain(&words.batons).find_map(|word| self.object_at(*word))
    }

    /// How many sleep on words of an object.
    #[must_use]
    pub(crate) fn sleepers(&self, object: Object) -> usize {
        let sleeps = |task: &Task| self.tasks[task.index()].barred.is_none() && self.sleeps_on(*task) == Some(object);
        self.tasks().filter(sleeps).count()
    }

    /// A task falls asleep; until a word or a baton of these is woken, a life of these ends, or the time comes.
    pub fn sleep(
        &mut self,
        task: Task,
        words: impl Iterator<Item = usize>,
        batons: impl Iterator<Item = usize>,
        lives: impl Iterator<Item = u32>,
        until: Option<u64>,
    ) {
        let state = &mut self.tasks[task.index()];
        state.sleep.words.clear();
        state.sleep.words.extend(words);
        state.sleep.lives.clear();
        state.sleep.lives.extend(lives);
        state.sleep.batons.clear();
        state.sleep.batons.extend(batons);
        state.sleep.since = self.sleeps;
        state.sleep.until = until;
        state.asleep = true;
        state.woken = None;
        self.sleeps += 1;
    }

    /// A task goes on only after [`Self::unbar`], or after somebody's end.
    pub(crate) fn bar(&mut self, task: Task, object: Object) {
        let state = &mut self.tasks[task.index()];
        state.sleep.words.clear();
        state.sleep.lives.clear();
        state.sleep.batons.clear();
        state.sleep.until = None;
        state.asleep = true;
        state.barred = Some(object);
    }

    /// Lets those who stand back from such locks look again.
    pub(crate) fn unbar(&mut self, wanted: impl Fn(Object) -> bool) {
        for state in self.tasks.iter_mut().filter(|state| state.barred.is_some_and(&wanted)) {
            state.barred = None;
            state.asleep = false;
        }
    }

    /// What ended the sleep of a task.
    pub fn woken(&mut self, task: Task) -> Woken {
        self.tasks[task.index()].woken.take().unwrap_or(Woken::Look)
    }

    /// Who sleeps on a word, in order of their sleeps.
    pub fn sleepers_on(&self, word: usize, found: &mut Vec<Task>) {
        found.clear();
        found.extend(self.tasks().filter(|task| {
            let state = &self.tasks[task.index()];
            // A stopped process is woken like any other; a dead one sleeps no more.
            state.asleep
                && state.barred.is_none()
                && (state.sleep.batons.contains(&word) || state.sleep.words.contains(&word))
        }));
        found.sort_by_key(|task| self.tasks[task.index()].sleep.since);
    }

    /// Ends a sleep, as a wake of this word does.
    pub fn wake(&mut self, task: Task, word: usize) {
        self.roused.push(task);
        let state = &mut self.tasks[task.index()];
        state.asleep = false;
        state.woken = Some(if state.sleep.batons.contains(&word) { Woken::Baton } else { Woken::Look });
    }

    /// Ends a sleep without a cause.
    pub fn disturb(&mut self, task: Task) {
        let state = &mut self.tasks[task.index()];
        state.barred = None;
        state.asleep = false;
        state.woken = Some(Woken::Look);
    }

    /// Lets the deadline of a sleeper pass, or an alarm; the clock moves a little beyond it, as clocks do.
    pub fn expire(&mut self, task: Task) {
        let state = &mut self.tasks[task.index()];
        if !state.asleep {
            let time = state.alarm.take().unwrap_or(0);
            return self.wait_until(time);
        }
        let until = state.sleep.until.unwrap_or(0);
        state.asleep = false;
        state.woken = Some(Woken::Expired);
        self.wait_until(until);
    }

    /// Lets time pass, and a little more, as clocks do.
    pub fn wait_until(&mut self, time: u64) {
        self.now = self.now.max(time) + LATE;
    }

    /// Names the word to be woken at the death of a task; 0 ends that. The word named before.
    pub fn name_baton(&mut self, task: Task, word: usize) -> usize {
        std::mem::replace(&mut self.tasks[task.index()].baton, word)
    }

    /// Who was woken since this was asked last.
    pub(crate) fn roused(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.roused)
    }

    /// The words that a task sleeps on, its batons among them, or slept on last.
    pub(crate) fn words_of(&self, task: Task) -> impl Iterator<Item = usize> + '_ {
        let sleep = &self.tasks[task.index()].sleep;
        sleep.words.iter().chain(&sleep.batons).copied()
    }

    /// The lives that a task sleeps on.
    pub(crate) fn lives_of(&self, task: Task) -> impl Iterator<Item = u32> + '_ {
        self.tasks[task.index()].sleep.lives.iter().copied()
    }

    /// The word that is woken at the death of a task; 0: none.
    pub(crate) fn baton_of(&self, task: Task) -> usize {
        self.tasks[task.index()].baton
    }

    /// A task returns: its thread's life ends, and with the last of them its process's.
    pub(crate) fn finish(&mut self, task: Task) {
        self.tasks[task.index()].finished = true;
        // Whose locks it leaves is theirs to find out.
        self.unbar(|_| true);
        self.end_life(task);
        let process = self.of_tasks[task.index()];
        if !self.alive(life_of(Some(process))) {
            self.tell(life_of(Some(process)));
        }
    }

    /// A process dies, with all its tasks.
    pub fn kill(&mut self, process: Process) {
        self.processes[process.index()].dead = true;
        // Whose locks it leaves is theirs to find out.
        self.unbar(|_| true);
        let mine: Vec<Task> =
            self.tasks().filter(|task| self.of_tasks[task.index()] == process && !self.is_finished(*task)).collect();
        for task in &mine {
            self.tasks[task.index()].asleep = false;
        }
        for task in mine {
            self.end_life(task);
        }
        self.tell(life_of(Some(process)));
    }

    /// Stops a process, or lets it go on.
    pub fn stop(&mut self, process: Process, stopped: bool) {
        self.processes[process.index()].stopped = stopped.then_some(Stopped::ByFault);
    }

    /// What a process comes to at its next turn.
    pub(crate) fn fate(&self, process: Process) -> Option<Fate> {
        self.processes[process.index()].fate
    }

    /// Has it come to that, or to nothing any more.
    pub(crate) fn set_fate(&mut self, process: Process, fate: Option<Fate>) {
        self.processes[process.index()].fate = fate;
    }

    /// Stops a process until the program lets it go on.
    pub(crate) fn hold(&mut self, process: Process, held: bool) {
        self.processes[process.index()].stopped = held.then_some(Stopped::BySignal);
    }

    /// What the kernel does at the end of a thread: its baton wakes one, and whoever watches it is told.
    fn end_life(&mut self, task: Task) {
        let baton = std::mem::take(&mut self.tasks[task.index()].baton);
        if baton != 0 {
            let mut sleepers = Vec::new();
            self.sleepers_on(baton, &mut sleepers);
            if let Some(first) = sleepers.first() {
                self.wake(*first, baton);
            }
        }
        self.tell(Self::thread_life(Some(task)));
    }

    /// Wakes those who watch a life that has ended.
    fn tell(&mut self, life: u32) {
        for (index, state) in self.tasks.iter_mut().enumerate() {
            if state.asleep && state.sleep.lives.contains(&life) {
                self.roused.push(Task(index as u32));
                state.asleep = false;
                state.woken = Some(Woken::Look);
            }
        }
    }
}
