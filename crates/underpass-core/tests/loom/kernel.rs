//! A kernel for loom: futexes, lives and batons as Linux has them, under one lock.
//!
//! What `linux.rs` and the futex code of Linux do, and so this does:
//! * a sleep is refused if a word differs, or a watched life has ended; both are compared under the kernel's lock, in which
//!   the sleeper is queued: Linux goes through the words one by one, so `linux` has them compared once more at the end;
//! * a sleeper stays queued on its other words until it runs, and may swallow their wakes meanwhile;
//! * the end of a life wakes one of those that watch it, then one sleeper of the baton that the dead had named; the one
//!   that is told of an end tells the others;
//! * a wake goes to whoever has slept longest on the word.
//!
//! * time passes for a sleeper when the program says so; one that was woken as well has been woken.
//!
//! Not here: clocks, spinning, and the re-check after a second. What only that re-check would repair is a deadlock here.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use loom::sync::{Mutex, MutexGuard};
use loom::thread::{self, Thread};
use underpass_core::kernel::{Kernel, Lent, Locked, Parked, Watch};
use underpass_core::many::{self, Bell};
use underpass_core::{Error, Result};
use underpass_shm::layout::bell::{BellWords, WatchersWords};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::sync::{AtomicU32, Ordering::Relaxed};

mod lending;

use lending::Lendings;
pub use lending::Mistake;

/// Explores a program. Two preemptions find what is found in practice; `LOOM_MAX_PREEMPTIONS` sets another bound.
pub fn explore(program: impl Fn() + Sync + Send + 'static) {
    explore_preempting(0, program);
}

/// As [`explore`], with one preemption fewer: for programs of some hundred steps.
pub fn explore_long(program: impl Fn() + Sync + Send + 'static) {
    explore_preempting(1, program);
}

/// As [`explore`], with two preemptions fewer: where even [`explore_long`] takes minutes.
pub fn explore_longest(program: impl Fn() + Sync + Send + 'static) {
    explore_preempting(2, program);
}

fn explore_preempting(fewer: usize, program: impl Fn() + Sync + Send + 'static) {
    let mut explorer = loom::model::Builder::new();
    let most = explorer.preemption_bound.unwrap_or(2);
    explorer.preemption_bound = Some(most.saturating_sub(fewer));
    explorer.max_branches = 10_000;
    explorer.check(program);
}

const PROCESS: u32 = 1 << 31;

/// Where somebody may be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A word, by its address.
    Word(usize),
    /// The token of a thread.
    Token(u32),
    /// A word that lends, by its address.
    Lent(usize),
}

impl Place {
    fn word(word: *const AtomicU32) -> Self {
        Self::Word(word.addr())
    }

    /// A process is watched at the token of its thread: here each has one.
    fn token(life: Life) -> Self {
        Self::Token(life.0 & !PROCESS)
    }
}

#[derive(Debug)]
struct Sleeper {
    life: u32,
    thread: Thread,
    /// Where it is still queued: the words, the tokens, the batons.
    queued: Vec<Option<Place>>,
    /// Where it was woken.
    woken: Vec<Place>,
    batons: Vec<Place>,
    /// What it had named when it fell asleep.
    named: usize,
    killed: bool,
    /// It has a deadline.
    can_expire: bool,
    /// It sleeps for the lock inside an object, which has none: its owner is in the middle of a step.
    for_step: bool,
    /// How it ended without a wake.
    ended: Option<Parked>,
}

impl Sleeper {
    fn run(&self) {
        // A second unpark could hit the thread where it waits for the kernel's lock.
        if self.is_asleep() {
            self.thread.unpark();
        }
    }

    fn is_asleep(&self) -> bool {
        self.woken.is_empty() && !self.killed && self.ended.is_none()
    }
}

#[derive(Debug, Default)]
struct State {
    sleepers: Vec<Sleeper>,
    /// Who waits until so many sleep.
    onlooker: Option<(usize, Thread)>,
    dead: Vec<u32>,
    /// Words that lend, for which somebody waits.
    lendings: Lendings,
}

impl State {
    fn asleep(&self) -> usize {
        self.sleepers.iter().filter(|sleeper| sleeper.is_asleep()).count()
    }

    /// Somebody sleeps.
    fn tell_onlooker(&mut self) {
        let asleep = self.asleep();
        if let Some((_, onlooker)) = self.onlooker.take_if(|(count, _)| *count <= asleep) {
            onlooker.unpark();
        }
    }

    fn wake(&mut self, place: Place, count: u32) -> u32 {
        let mut woken = 0;
        for sleeper in &mut self.sleepers {
            if woken == count {
                break;
            }
            let found = sleeper.queued.iter_mut().find(|queued| **queued == Some(place));
            if let Some(queued) = found {
                *queued = None;
                sleeper.run();
                sleeper.woken.push(place);
                woken += 1;
            }
        }
        woken
    }

    fn bury(&mut self, life: u32, named: usize) {
        self.dead.push(life);
        self.wake(Place::Token(life), 1);
        self.wake(Place::Word(named), 1);
        self.hand_on(life, named);
    }
}

/// The machine of one program.
#[derive(Debug)]
pub struct World {
    state: Mutex<State>,
    /// Nobody dies here, and asking costs loom nothing.
    immortal: bool,
    /// The objects of which somebody waits for one or another.
    watched: Vec<Watched>,
    bells: Vec<BellWords>,
}

/// An object that is one of many.
#[derive(Debug)]
pub struct Watched {
    /// Where its words are; nowhere: wherever, as there is no other object.
    pub words: Vec<std::ops::Range<usize>>,
    /// Who is rung for it.
    pub watchers: WatchersWords,
    /// By what it is known.
    pub nonce: u64,
}

impl Watched {
    fn has(&self, word: &AtomicU32) -> bool {
        let at = std::ptr::from_ref(word).addr();
        self.words.is_empty() || self.words.iter().any(|part| part.contains(&at))
    }
}

impl World {
    /// One where nobody dies.
    pub fn new() -> Arc<Self> {
        Self::of(true, Vec::new())
    }

    /// One with deaths.
    pub fn mortal() -> Arc<Self> {
        Self::of(false, Vec::new())
    }

    /// One where somebody waits for many, and nobody dies, or with deaths.
    pub fn of(immortal: bool, watched: Vec<Watched>) -> Arc<Self> {
        let bells = if watched.is_empty() { 0 } else { 4 };
        let bells = std::iter::repeat_with(BellWords::new).take(bells).collect();
        Arc::new(Self { state: Mutex::default(), immortal, watched, bells })
    }

    /// Who is rung for the object of that number.
    pub fn watchers(&self, object: usize) -> &WatchersWords {
        &self.watched[object].watchers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Starts thread number `life`, in a process of its own.
    pub fn spawn<T: 'static>(
        self: &Arc<Self>,
        life: u32,
        run: impl FnOnce(&ThreadKernel) -> T + 'static,
    ) -> Running<T> {
        self.spawn_dying(life, Dies::Never, run)
    }

    /// Starts a thread that dies at a point of its own.
    pub fn spawn_dying<T: 'static>(
        self: &Arc<Self>,
        life: u32,
        dies: Dies,
        run: impl FnOnce(&ThreadKernel) -> T + 'static,
    ) -> Running<T> {
        let kernel = ThreadKernel::new(self, life, dies);
        Running(thread::spawn(move || kernel.live(run)))
    }

    /// Starts thread number `life` of a process that has others. Nobody dies there.
    pub fn spawn_in<T: 'static>(
        self: &Arc<Self>,
        process: u32,
        life: u32,
        run: impl FnOnce(&ThreadKernel) -> T + 'static,
    ) -> Running<T> {
        let world = self.clone();
        Running(thread::spawn(move || Some(world.run_in(process, life, run))))
    }

    /// Runs the calling thread's part as `life` of a process that has others.
    pub fn run_in<T>(self: &Arc<Self>, process: u32, life: u32, run: impl FnOnce(&ThreadKernel) -> T) -> T {
        let kernel = ThreadKernel { process, ..ThreadKernel::new(self, life, Dies::Never) };
        kernel.live(run).expect("it does not die")
    }

    /// Runs the calling thread's part as `life`.
    pub fn run<T>(self: &Arc<Self>, life: u32, run: impl FnOnce(&ThreadKernel) -> T) -> T {
        ThreadKernel::new(self, life, Dies::Never).live(run).expect("it does not die")
    }

    /// Waits until so many threads sleep: from there on a program needs fewer preemptions to go wrong.
    pub fn until_asleep(&self, count: usize) {
        loop {
            let mut state = self.state();
            if state.asleep() >= count {
                return;
            }
            state.onlooker = Some((count, thread::current()));
            drop(state);
            thread::park();
        }
    }

    /// Lets the deadline of a sleeper pass; false if it does not sleep, or for a step, which has no deadline.
    pub fn expire_sleeper(&self, life: u32) -> bool {
        let mut state = self.state();
        let expires = |sleeper: &&mut Sleeper| sleeper.life == life && sleeper.is_asleep() && !sleeper.for_step;
        let sleeper = state.sleepers.iter_mut().find(expires);
        let Some(sleeper) = sleeper else { return false };
        sleeper.run();
        assert!(sleeper.can_expire, "it sleeps without a deadline");
        sleeper.ended = Some(Parked::Expired);
        true
    }

    /// Ends a sleep by a signal whose handler raises; false if it does not sleep.
    pub fn interrupt_sleeper(&self, life: u32) -> bool {
        let mut state = self.state();
        let sleeper = state.sleepers.iter_mut().find(|sleeper| sleeper.life == life && sleeper.is_asleep());
        let Some(sleeper) = sleeper else { return false };
        sleeper.run();
        sleeper.ended = Some(Parked::Interrupted);
        true
    }

    /// Kills a thread where it sleeps, as SIGKILL does; false if it does not.
    pub fn kill_sleeper(&self, life: u32) -> bool {
        let mut state = self.state();
        let Some(index) = state.sleepers.iter().position(|sleeper| sleeper.life == life) else { return false };
        let sleeper = &mut state.sleepers[index];
        sleeper.run();
        sleeper.killed = true;
        sleeper.queued.clear();
        let named = sleeper.named;
        state.settle(life);
        state.bury(life, named);
        true
    }
}

/// A thread under way.
pub struct Running<T>(thread::JoinHandle<Option<T>>);

impl<T> Running<T> {
    /// What it returned; `None` if it died.
    pub fn end(self) -> Option<T> {
        self.0.join().expect("loom reports panics itself")
    }

    /// What it returned: it cannot have died.
    pub fn join(self) -> T {
        self.end().expect("it lives")
    }
}

/// What several returned, all of which live.
pub fn join<T: std::fmt::Debug, const N: usize>(threads: [Running<T>; N]) -> [T; N] {
    threads.map(Running::join)
}

/// Where a thread dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dies {
    /// It does not.
    Never,
    /// After its first store that owes a wake, before the wake.
    BeforeWake,
    /// Woken from its first sleep, before it looks.
    AfterPark,
    /// Right after its first change that owes a wake, when it comes to lock or to tell.
    AfterChange,
    /// When it asks for the time: the queue does so in the middle of a lease or loan.
    AtTheClock,
}

/// How a dead thread's frames unwind: nothing they do has an effect.
struct Death;

/// The kernel as one thread sees it.
pub struct ThreadKernel {
    world: Arc<World>,
    life: u32,
    process: u32,
    dies: Dies,
    /// What it has named; no other thread reads this.
    named: std::sync::Mutex<usize>,
    mistake: Mistake,
}

impl std::fmt::Debug for ThreadKernel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "thread {}", self.life)
    }
}

impl ThreadKernel {
    fn new(world: &Arc<World>, life: u32, dies: Dies) -> Self {
        Self {
            world: world.clone(),
            life,
            process: life,
            dies,
            named: std::sync::Mutex::new(0),
            mistake: Mistake::None,
        }
    }

    /// Runs a thread's program; `None` if it died.
    fn live<T>(&self, run: impl FnOnce(&Self) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| run(self))) {
            Ok(done) => Some(done),
            Err(reason) if reason.is::<Death>() => None,
            Err(reason) => resume_unwind(reason),
        }
    }

    fn named(&self) -> usize {
        *self.named.lock().unwrap()
    }

    /// Dies here.
    pub fn die(&self) -> ! {
        self.world.state().bury(self.life, self.named());
        self.vanish();
    }

    /// It has been buried.
    fn vanish(&self) -> ! {
        resume_unwind(Box::new(Death))
    }
}

impl Kernel for ThreadKernel {
    fn now(&self) -> u64 {
        if self.dies == Dies::AtTheClock {
            self.die();
        }
        0
    }

    fn me(&self) -> Result<Me> {
        // Only the change lies between the naming of the baton and the next question who it is.
        if self.dies == Dies::AfterChange && self.named() != 0 {
            self.die();
        }
        Ok(Me { thread: Life(self.life), process: Life(self.process | PROCESS), tid: self.life, namespace: 1 })
    }

    fn alive(&self, life: Life) -> bool {
        self.world.immortal || !self.world.state().dead.contains(&(life.0 & !PROCESS))
    }

    fn pid(&self, life: Life) -> u32 {
        life.0 & !PROCESS
    }

    fn park(&self, watch: &Watch<'_>, batons: &[&AtomicU32], until: Option<u64>) -> Parked {
        {
            let mut state = self.world.state();
            let ended = watch.lives().iter().any(|life| state.dead.contains(&(life.0 & !PROCESS)));
            let changed = watch.words().any(|(word, expected)| word.load(Relaxed) != expected)
                || watch.wide.is_some_and(|(word, expected)| word.load(Relaxed) != expected)
                || watch.announced.iter().any(|one| {
                    one.words.iter().any(|(word, expected)| word.load(Relaxed) != *expected)
                        || one.wide.is_some_and(|(word, expected)| word.load(Relaxed) != expected)
                });
            if ended || changed {
                return Parked::Look;
            }
            let words = watch.words().map(|(word, _)| Place::word(word));
            let places = words.chain(watch.lives().iter().copied().map(Place::token));
            let batons: Vec<Place> = batons.iter().map(|baton| Place::word(*baton)).collect();
            state.sleepers.push(Sleeper {
                life: self.life,
                thread: thread::current(),
                queued: places.chain(batons.iter().copied()).map(Some).collect(),
                woken: Vec::new(),
                batons,
                named: self.named(),
                killed: false,
                can_expire: until.is_some(),
                for_step: watch.purpose.as_ref().is_some_and(|purpose| purpose.operation == Operation::Lock),
                ended: None,
            });
            state.tell_onlooker();
        }
        loop {
            thread::park();
            let mut state = self.world.state();
            let mine = state.sleepers.iter().position(|sleeper| sleeper.life == self.life).expect("still listed");
            if state.sleepers[mine].killed {
                state.sleepers.remove(mine);
                drop(state);
                resume_unwind(Box::new(Death));
            }
            if state.sleepers[mine].woken.is_empty() {
                if let Some(ended) = state.sleepers[mine].ended {
                    state.sleepers.remove(mine);
                    return ended;
                }
                continue;
            }
            let Sleeper { woken, batons, .. } = state.sleepers.remove(mine);
            if self.dies == Dies::AfterPark {
                drop(state);
                self.die();
            }
            for token in woken.iter().filter(|place| matches!(place, Place::Token(_))) {
                state.wake(*token, u32::MAX);
            }
            return if batons.iter().any(|baton| woken.contains(baton)) { Parked::Baton } else { Parked::Look };
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        if self.dies == Dies::BeforeWake {
            self.die();
        }
        let woken = self.world.state().wake(Place::word(word), count);
        if let Some(watched) = self.world.watched.iter().find(|watched| watched.has(word)) {
            let bell = |number: usize| self.world.bells.get(number);
            many::ring(&watched.watchers, watched.nonce, bell, |_, bell| {
                self.world.state().wake(Place::word(&bell.rings), 1);
                self.alive(Life(bell.owner.load(Relaxed)))
            });
        }
        woken
    }

    fn bell(&self) -> Result<Bell<'_>> {
        // Each thread has the bell of its number.
        let number = self.life as usize;
        let words = &self.world.bells[number];
        words.owner.store(self.life, Relaxed);
        Ok(Bell { words, number })
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        if self.forgets(word) {
            return std::ptr::null();
        }
        let mut named = self.named.lock().unwrap();
        if *named != 0 && !word.is_null() && *named != word.addr() {
            self.world.state().wake(Place::Word(*named), 1);
        }
        // A word that lends is written when its thread dies.
        std::ptr::with_exposed_provenance(std::mem::replace(&mut named, word.expose_provenance()))
    }

    fn lock_pi(&self, lent: Lent<'_>, watch: &mut Watch<'_>, until: Option<u64>) -> Result<Locked> {
        Ok(self.lock(lent, watch, until))
    }

    fn unlock_pi(&self, lent: Lent<'_>) -> Result<()> {
        self.unlock(lent);
        Ok(())
    }

    fn priority(&self) -> i32 {
        0
    }

    fn cpus(&self) -> u64 {
        0
    }

    fn spin(&self, _partner: u64) -> u64 {
        0
    }
}

/// Turns a result that cannot be an error into its value.
pub fn sure<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error: Error| panic!("{error:?}"))
}
