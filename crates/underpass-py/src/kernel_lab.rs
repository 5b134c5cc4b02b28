//! The lab kernel: the third answer to the questions of the `Kernel` trait.
//!
//! Its processes are greenlets of one thread. Who goes on, who expires and who dies is decided by `underpass_lab`; what is
//! decided is done here, by a switch to another greenlet: greenlet moves the native frames of the operation aside
//! meanwhile, so an operation may be anywhere inside its Rust code. A process that is killed is never switched to again
//! until the schedule has ended and been looked at: whatever its frames do when they unwind then, nobody sees.

mod bells;
mod locks;
mod names;
mod objects;
mod turns;
mod views;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::prelude::*;
use underpass_core::kernel::{Kernel, Memory, Parked, Wanted, Watch};
use underpass_core::many::Bell;
use underpass_core::{Deadline, Error, Result};
use underpass_lab::choice::{Point, Task};
use underpass_lab::record::{Manner, Thing};
use underpass_lab::schedule::Schedule;
use underpass_lab::world::{Woken, World};
use underpass_shm::clock;
use underpass_shm::layout::bell::BellWords;
use underpass_shm::life::{Life, Me};
use underpass_shm::place::PlacedSlice;
use underpass_shm::region::Region;
use underpass_shm::sync::AtomicU32;

use crate::error::plain;
use crate::kernel_conducted;
use crate::priority;
use crate::rendezvous_lab::Doors;
use crate::section;
pub use names::NewNames;
use names::Names;
use objects::Objects;
pub use turns::point_name;
use turns::{Greenlets, Nudge};
pub use views::HeldBytes;
use views::Views;

thread_local! {
    static CURRENT: std::cell::RefCell<Option<Arc<LabKernel>>> = const { std::cell::RefCell::new(None) };
}

/// The lab kernel that objects made on this thread live in, if one is entered.
pub fn current() -> Option<Arc<LabKernel>> {
    CURRENT.with_borrow(Clone::clone)
}

/// What time it is, for whoever computes a deadline on this thread: in the lab, and under a conductor, the virtual clock's.
pub fn now() -> u64 {
    let elsewhere = || kernel_conducted::now().unwrap_or_else(clock::monotonic);
    CURRENT.with_borrow(|lab| lab.as_ref().map_or_else(elsewhere, |lab| lab.now()))
}

/// Which simulated thread runs here, if one does.
pub fn thread() -> Option<Life> {
    let running = current()?.schedule().running();
    running.map(|task| Life(World::thread_life(Some(task))))
}

/// Enters a lab kernel on this thread, or leaves the one that is entered.
pub fn enter(kernel: Option<Arc<LabKernel>>) {
    CURRENT.set(kernel);
}

/// A world whose clock, lives and scheduling are under a strategy's control.
#[derive(Debug)]
pub struct LabKernel {
    schedule: Mutex<Schedule>,
    greenlets: Mutex<Greenlets>,
    objects: Mutex<Objects>,
    pub doors: Doors,
    pub views: Views,
    bells: OnceLock<PlacedSlice<BellWords>>,
    names: Names,
    nudge: Mutex<Nudge>,
}

fn address(word: *const AtomicU32) -> usize {
    word as usize
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LabKernel {
    /// Picks a number below `count`: a choice like any other.
    pub fn pick(&self, count: usize) -> usize {
        self.schedule().pick(count as u32) as usize
    }

    /// A kernel whose schedules are decided by what `schedule` brings.
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule: Mutex::new(schedule),
            greenlets: Mutex::default(),
            objects: Mutex::default(),
            doors: Doors::default(),
            views: Views::default(),
            bells: OnceLock::new(),
            names: Names::default(),
            nudge: Mutex::default(),
        }
    }

    /// The schedule in progress. Not to be held over a switch.
    pub fn schedule(&self) -> MutexGuard<'_, Schedule> {
        locked(&self.schedule)
    }

    /// Whom to switch to. Not to be held over a switch.
    pub fn greenlets(&self) -> MutexGuard<'_, Greenlets> {
        locked(&self.greenlets)
    }

    /// Begins the next schedule, with no objects; false: there is none.
    pub fn begin(&self) -> bool {
        section::forget_simulated();
        self.doors.clear();
        self.clear_bells();
        self.clear_names();
        self.views.clear();
        locked(&self.objects).clear();
        self.greenlets().tasks.clear();
        self.schedule().begin()
    }

    /// Which process runs, of those that are simulated, or the host's.
    pub fn process(&self) -> Life {
        let schedule = self.schedule();
        Life(schedule.world.process_life(schedule.running()))
    }

    /// Which simulated process runs.
    pub fn simulated(&self) -> Option<Life> {
        let schedule = self.schedule();
        schedule.running().map(|task| Life(schedule.world.process_life(Some(task))))
    }

    /// Sleeps until a task's life has ended.
    pub fn join(&self, task: Task) -> Result<()> {
        let life = Life(World::thread_life(Some(task)));
        let mut watch = Watch::new();
        watch.life(life);
        while self.alive(life) {
            if self.park(&watch, &[], None) == Parked::Interrupted {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// The step that is under way changes the object with that memory: for what is no operation of its own.
    pub fn touch(&self, object: &Region) {
        self.touch_at(object.addresses().start);
    }

    fn touch_at(&self, address: usize) {
        let mut schedule = self.schedule();
        if let Some(object) = schedule.world.object_at(address) {
            schedule.tie(Thing::Object(object), Manner::Change);
        }
    }

    /// Whether an operation that would wait until then for room, and need not, is refused as if it had waited in vain.
    pub fn refuses(&self, deadline: Deadline) -> bool {
        let mut schedule = self.schedule();
        // Who waits for ever is never refused, and what sets a program up has all the room that it wants.
        if deadline == Deadline::Never || schedule.running().is_none() || !schedule.refuses() {
            return false;
        }
        if let Deadline::At(time) = deadline {
            schedule.wait_until(time);
        }
        true
    }
}

impl Kernel for LabKernel {
    fn now(&self) -> u64 {
        self.schedule().now()
    }

    fn me(&self) -> Result<Me> {
        let schedule = self.schedule();
        let running = schedule.running();
        let (thread, process) = (Life(World::thread_life(running)), Life(schedule.world.process_life(running)));
        Ok(Me { thread, process, tid: thread.0, namespace: 1 })
    }

    fn alive(&self, life: Life) -> bool {
        self.schedule().alive(life.0)
    }

    fn pid(&self, life: Life) -> u32 {
        // The host is 1; the first process that it starts is 2.
        self.schedule().world.process_of(life.0).map_or(1, |process| process.0 + 2)
    }

    fn park(&self, watch: &Watch<'_>, batons: &[&AtomicU32], until: Option<u64>) -> Parked {
        let Some(task) = self.schedule().running() else {
            Python::attach(|py| {
                let why = "it would sleep for ever: only the processes of a program run beside each other; what sets it up and what looks at its end run alone";
                plain(py, "MisuseError", why).restore(py);
            });
            return Parked::Interrupted;
        };
        let batons = batons.iter().map(|baton| address(*baton));
        let mut words = watch.words().map(|(word, _)| address(word)).chain(batons.clone());
        let object = words.find_map(|word| self.schedule().world.object_at(word));
        // Between the look and the sleep anything may happen, so the values are compared after it.
        if self.point(Point::Park, object).is_err() {
            return Parked::Interrupted;
        }
        {
            let mut schedule = self.schedule();
            if !watch.holds() || watch.lives().iter().any(|life| !schedule.alive(life.0)) {
                return Parked::Look;
            }
            let words = watch.words().map(|(word, _)| address(word));
            let lives = watch.lives().iter().map(|life| life.0);
            schedule.world.sleep(task, words, batons.clone(), lives, until);
        }
        if self.point(Point::Awake, object).is_err() {
            return Parked::Interrupted;
        }
        if batons.len() > 1 {
            // It is about to look at all of them again.
            batons.for_each(|baton| self.touch_at(baton));
        }
        match self.schedule().world.woken(task) {
            Woken::Look => Parked::Look,
            Woken::Baton => Parked::Baton,
            Woken::Expired => Parked::Expired,
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        // Between the store and its wake anything may happen, a death too.
        let object = self.schedule().world.object_at(address(word));
        if !self.quiet_point(Point::Wake, object) {
            return 0;
        }
        let woken = self.schedule().wake(address(word), count);
        let woken = woken + self.ring(object);
        if woken > 0 {
            // Whoever was woken may look before the waker does anything else: a store that comes after its wake.
            self.quiet_point(Point::Woke, None);
        }
        woken
    }

    fn bell(&self) -> Result<Bell<'_>> {
        let running = self.schedule().running();
        let number = running.map_or(0, |task| task.index() + 1);
        let words = self.bells()?.get(number).ok_or_else(|| Error::Misuse("the lab has no more bells".into()))?;
        words.owner.store(World::thread_life(running), Relaxed);
        Ok(Bell { words, number })
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        self.schedule().name_baton(address(word)) as *const AtomicU32
    }

    fn priority(&self) -> i32 {
        priority::chosen().unwrap_or(0)
    }

    fn cpus(&self) -> u64 {
        1
    }

    fn spin(&self, _partner: u64) -> u64 {
        0
    }

    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        self.make(wanted)
    }
}
