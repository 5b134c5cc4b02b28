//! The lab kernel: the third answer to the questions of the `Kernel` trait.
//!
//! Its processes are greenlets of one thread. Who goes on, who expires and who dies is decided by `underpass_lab`; what is
//! decided is done here, by a switch to another greenlet: greenlet moves the native frames of the operation aside
//! meanwhile, so an operation may be anywhere inside its Rust code. A process that is killed is never switched to again
//! until the schedule has ended and been looked at: whatever its frames do when they unwind then, nobody sees.

mod locks;
mod names;

use std::collections::HashMap;
use std::sync::atomic::AtomicU32 as Word;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use underpass_core::held::{Held, held};
use underpass_core::kernel::{Kernel, Memory, Parked, Wanted, Watch};
use underpass_core::{Deadline, Error, Result};
use underpass_lab::choice::{Object, Pending, Point, Task};
use underpass_lab::record::{Manner, Thing};
use underpass_lab::schedule::{Next, Schedule};
use underpass_lab::world::{Woken, World};
use underpass_shm::header::{Header, Kind};
use underpass_shm::life::{Life, Me};
use underpass_shm::region::Region;
use underpass_shm::sync::AtomicU32;
use underpass_shm::{Error as Shm, clock, space};

use crate::error::plain;
use crate::kernel_conducted;
use crate::refusal::lack;
use crate::rendezvous_lab::Doors;

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
    /// Changes with every name.
    names: Word,
    nudge: Mutex<Nudge>,
}

/// A look of one sleeper after the end of a schedule: can it go on?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Nudge {
    #[default]
    None,
    /// It has been let look.
    Looking,
    /// It would sleep again.
    Sleeps,
}

/// Whom to switch to.
#[derive(Debug, Default)]
pub struct Greenlets {
    /// The `switch` of whoever explores.
    pub host: Option<Py<PyAny>>,
    /// The `switch` of each task.
    pub tasks: Vec<Py<PyAny>>,
    /// Is told of each scheduling point, where somebody looks on.
    pub observer: Option<Py<PyAny>>,
}

/// One object of the lab.
#[derive(Debug)]
struct Made {
    region: Arc<Region>,
    header: Header,
    file: String,
    linked: bool,
}

#[derive(Debug, Default)]
struct Objects {
    made: Vec<Made>,
    /// The memory of channels.
    channels: Vec<Arc<Region>>,
    /// Memory of the schedule before this one, which somebody still had open when this one began.
    kept: Vec<Arc<Region>>,
    /// Memory of earlier schedules, by its size.
    spare: HashMap<usize, Vec<Arc<Region>>>,
}

/// The most bytes of an object whose memory a schedule hands on to the next.
const CLEARED: usize = 64 * 1024;

fn address(word: *const AtomicU32) -> usize {
    word as usize
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LabKernel {
    /// A kernel whose schedules are decided by what `schedule` brings.
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule: Mutex::new(schedule),
            greenlets: Mutex::default(),
            objects: Mutex::default(),
            doors: Doors::default(),
            names: Word::new(0),
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
        let mut objects = locked(&self.objects);
        self.doors.clear();
        let Objects { made, channels, kept, spare } = &mut *objects;
        let before = std::mem::take(kept);
        let last = made.drain(..).map(|made| made.region).chain(channels.drain(..));
        for (mut region, again) in
            before.into_iter().map(|region| (region, true)).chain(last.map(|region| (region, false)))
        {
            match Arc::get_mut(&mut region) {
                // What is larger comes cheaper from the system, which zeroes only the pages that are touched.
                Some(memory) if memory.len() > CLEARED => {}
                Some(memory) => {
                    memory.clear();
                    spare.entry(region.len()).or_default().push(region);
                }
                // Handles of a schedule's arguments live until the next one has begun; who still has it open then keeps it.
                None if !again => kept.push(region),
                None => {}
            }
        }
        self.greenlets().tasks.clear();
        self.schedule().begin()
    }

    /// How many are parked on words of that object.
    pub fn waiters(&self, object: &Region) -> usize {
        self.schedule().sleepers(object.addresses().start)
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

    /// Memory that two processes share to use a port: it belongs to that object.
    pub fn channel(&self, port: &Region, size: usize) -> Result<Arc<Region>> {
        let region = self.room(size)?;
        let world = &mut self.schedule().world;
        if let Some(port) = world.object_at(port.addresses().start) {
            world.annex(port, region.addresses());
        }
        locked(&self.objects).channels.push(region.clone());
        Ok(region)
    }

    /// Zeroed memory.
    fn room(&self, size: usize) -> Result<Arc<Region>> {
        match locked(&self.objects).spare.get_mut(&size).and_then(Vec::pop) {
            Some(region) => Ok(region),
            None => Ok(Region::anonymous(size)?),
        }
    }

    /// What the objects are called, in the order in which they were made.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        locked(&self.objects).made.iter().map(|made| (made.header.kind.name(), made.file.clone())).collect()
    }

    /// What lives hold of all objects: each object by its place among them, and what is held of it.
    pub fn held(&self) -> Vec<(usize, Held)> {
        let objects = locked(&self.objects);
        let mut all = Vec::new();
        for (about, made) in objects.made.iter().enumerate() {
            let belongs = |channel: &&Arc<Region>| {
                self.schedule().world.object_at(channel.addresses().start) == Some(Object(about as u32))
            };
            let channels: Vec<_> = match made.header.kind {
                Kind::Port => objects.channels.iter().filter(belongs).cloned().collect(),
                _ => Vec::new(),
            };
            all.extend(held(self, &made.header, &made.region, &channels).into_iter().map(|held| (about, held)));
        }
        all
    }

    /// An object's memory and file, by its place among all; unlinked or not.
    pub fn nth(&self, about: usize) -> Option<(Arc<Region>, Header, String)> {
        let objects = locked(&self.objects);
        objects.made.get(about).map(|made| (made.region.clone(), made.header.clone(), made.file.clone()))
    }

    /// The object of a file that has not been unlinked.
    pub fn find(&self, file: &str, kind: Kind) -> std::result::Result<(Arc<Region>, Header), Shm> {
        let objects = locked(&self.objects);
        let Some(made) = objects.made.iter().find(|made| made.linked && made.file == file) else {
            let what = format!("'{}' in the lab", space::object_name(file));
            return Err(Shm::NotFound { what, path: file.into() });
        };
        if made.header.kind != kind {
            let (found, expected) = (made.header.kind.name(), kind.name());
            return Err(Shm::Mismatch {
                what: format!("'{}' in the lab", space::object_name(file)),
                wanted: expected.into(),
                found: found.into(),
            });
        }
        Ok((made.region.clone(), made.header.clone()))
    }

    /// Removes a name; false: it is gone.
    pub fn unlink(&self, file: &str) -> bool {
        self.unlink_if(file, |_| true)
    }

    /// Removes a name if it is that object's.
    pub fn unlink_if(&self, file: &str, wanted: impl Fn(&Header) -> bool) -> bool {
        let mut objects = locked(&self.objects);
        let made = objects.made.iter_mut().find(|made| made.linked && made.file == file && wanted(&made.header));
        made.map(|made| made.linked = false).is_some()
    }

    /// Sleeps until a task's life has ended.
    pub fn join(&self, task: Task) -> Result<()> {
        let life = Life(World::thread_life(Some(task)));
        let mut watch = Watch::new();
        watch.life(life);
        while self.alive(life) {
            if self.park(&watch, None, None) == Parked::Interrupted {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// The step that is under way changes the object with that memory: for what is no operation of its own.
    pub fn touch(&self, object: &Region) {
        let mut schedule = self.schedule();
        if let Some(object) = schedule.world.object_at(object.addresses().start) {
            schedule.tie(Thing::Object(object), Manner::Change);
        }
    }

    /// A scheduling point of an operation that uses the object with that memory so.
    pub fn operate(&self, object: &Region, manner: Manner) -> Result<()> {
        let object = self.schedule().world.object_at(object.addresses().start);
        self.arrive(Pending { point: Point::Operation, object, manner })
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

    /// A scheduling point. No lock is held here while others run.
    pub fn point(&self, point: Point, object: Option<Object>) -> Result<()> {
        self.arrive(Pending { point, object, manner: Manner::Change })
    }

    fn arrive(&self, pending: Pending) -> Result<()> {
        let Pending { point, object, .. } = pending;
        let task = {
            let schedule = self.schedule();
            let Some(task) = schedule.running() else { return Ok(()) };
            if !self.is_entered_here() {
                return Err(strange());
            }
            if schedule.is_over() {
                drop(schedule);
                return self.after_the_end(point);
            }
            task
        };
        self.observe(task, point, object)?;
        let next = self.schedule().arrive(pending);
        self.follow(next)
    }

    /// Has others go on, if they do.
    fn follow(&self, next: Next) -> Result<()> {
        match next {
            Next::Stay => Ok(()),
            Next::Switch(other) => self.switch(Some(other)),
            Next::Over => self.switch(None),
        }
    }

    /// The same where nobody expects an exception; false: it only unwinds, and ends at its next operation.
    fn quiet_point(&self, point: Point, object: Option<Object>) -> bool {
        // A destructor may run while an exception is on its way: it is kept.
        let raised = Python::attach(PyErr::take);
        let passed = self.point(point, object).is_ok();
        Python::attach(|py| {
            drop(PyErr::take(py));
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
        passed
    }

    /// The calling thread is the one whose greenlets are the processes.
    fn is_entered_here(&self) -> bool {
        CURRENT.with_borrow(|lab| lab.as_ref().is_some_and(|lab| std::ptr::eq(&raw const **lab, self)))
    }

    /// After the end of a schedule, lets one sleeper look once more: true if it then goes on with its program.
    pub fn nudge(&self, py: Python<'_>, task: Task) -> PyResult<bool> {
        self.schedule().world.disturb(task);
        self.schedule().set_running(Some(task));
        *locked(&self.nudge) = Nudge::Looking;
        let switch = self.greenlets().tasks.get(task.index()).map(|switch| switch.clone_ref(py));
        let switched =
            switch.map_or_else(|| Err(plain(py, "MisuseError", "the lab is not running")), |switch| switch.call0(py));
        self.schedule().set_running(None);
        let nudge = std::mem::take(&mut *locked(&self.nudge));
        switched.map(|_| nudge == Nudge::Looking)
    }

    /// A scheduling point of one who only unwinds, or looks once more.
    fn after_the_end(&self, point: Point) -> Result<()> {
        let nudge = *locked(&self.nudge);
        match (nudge, point) {
            (Nudge::None, _) => Err(unwinds()),
            // It passes on what it must on its way.
            (_, Point::Wake | Point::Woke) => Ok(()),
            (_, Point::Park) => {
                *locked(&self.nudge) = Nudge::Sleeps;
                self.switch(None)
            }
            (_, _) => self.switch(None),
        }
    }

    /// Tells whoever looks on.
    fn observe(&self, task: Task, point: Point, object: Option<Object>) -> Result<()> {
        if self.greenlets().observer.is_none() {
            return Ok(());
        }
        Python::attach(|py| {
            let Some(observer) = self.greenlets().observer.as_ref().map(|observer| observer.clone_ref(py)) else {
                return Ok(());
            };
            // What it does with the objects is no step of anybody.
            self.schedule().set_running(None);
            let told = observer.call1(py, (task.0, point_name(point), object.map(|object| object.0)));
            self.schedule().set_running(Some(task));
            told.map(drop).map_err(|error| {
                error.restore(py);
                Error::Interrupted
            })
        })
    }

    /// Lets a task go on, or the host; comes back when this one is to go on.
    fn switch(&self, task: Option<Task>) -> Result<()> {
        Python::attach(|py| {
            let switch = {
                let greenlets = self.greenlets();
                let switch = task.map_or(greenlets.host.as_ref(), |task| greenlets.tasks.get(task.index()));
                switch.map(|switch| switch.clone_ref(py))
            };
            let switched = switch
                .map_or_else(|| Err(plain(py, "MisuseError", "the lab is not running")), |switch| switch.call0(py));
            switched.map(drop).map_err(|error| {
                error.restore(py);
                Error::Interrupted
            })
        })
    }
}

/// Refuses a thread of the system.
fn strange() -> Error {
    Python::attach(|py| {
        let why = "it lives in the lab, which runs no threads of the system: start threads of its processes with world.thread";
        plain(py, "MisuseError", why).restore(py);
    });
    Error::Interrupted
}

/// Raises what unwinds a greenlet.
fn unwinds() -> Error {
    static EXIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Python::attach(|py| {
        let exit = EXIT.get_or_try_init(py, || Ok(py.import("greenlet")?.getattr("GreenletExit")?.unbind()));
        match exit.and_then(|exit| exit.bind(py).call0()) {
            Ok(value) => PyErr::from_value(value).restore(py),
            Err(error) => error.restore(py),
        }
    });
    Error::Interrupted
}

/// What a point is called in Python.
pub fn point_name(point: Point) -> &'static str {
    match point {
        Point::Start => "start",
        Point::Operation => "operation",
        Point::Park => "park",
        Point::Awake => "awake",
        Point::Wake => "wake",
        Point::Woke => "woke",
        Point::Line => "line",
    }
}

impl Kernel for LabKernel {
    fn now(&self) -> u64 {
        self.schedule().now()
    }

    fn me(&self) -> Result<Me> {
        let schedule = self.schedule();
        let running = schedule.running();
        Ok(Me { thread: Life(World::thread_life(running)), process: Life(schedule.world.process_life(running)) })
    }

    fn alive(&self, life: Life) -> bool {
        self.schedule().alive(life.0)
    }

    fn pid(&self, life: Life) -> u32 {
        // The host is 1; the first process that it starts is 2.
        self.schedule().world.process_of(life.0).map_or(1, |process| process.0 + 2)
    }

    fn park(&self, watch: &Watch<'_>, baton: Option<&AtomicU32>, until: Option<u64>) -> Parked {
        let Some(task) = self.schedule().running() else {
            Python::attach(|py| {
                let why = "it would sleep for ever: only the processes of a program run beside each other; what sets it up and what looks at its end run alone";
                plain(py, "MisuseError", why).restore(py);
            });
            return Parked::Interrupted;
        };
        let baton = baton.map_or(0, |baton| address(baton));
        let first = watch.words().next().map_or(baton, |(word, _)| address(word));
        let object = self.schedule().world.object_at(first);
        // Between the look and the sleep anything may happen, so the values are compared after it.
        if self.point(Point::Park, object).is_err() {
            return Parked::Interrupted;
        }
        {
            let mut schedule = self.schedule();
            let changed = |(word, expected): (&AtomicU32, u32)| word.load(SeqCst) != expected;
            let wide = watch.wide.is_some_and(|(word, expected)| word.load(SeqCst) != expected);
            if wide || watch.words().any(changed) || watch.lives().iter().any(|life| !schedule.alive(life.0)) {
                return Parked::Look;
            }
            let words = watch.words().map(|(word, _)| address(word));
            let lives = watch.lives().iter().map(|life| life.0);
            schedule.world.sleep(task, words, baton, lives, until);
        }
        if self.point(Point::Awake, object).is_err() {
            return Parked::Interrupted;
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
        if woken > 0 {
            // Whoever was woken may look before the waker does anything else: a store that comes after its wake.
            self.quiet_point(Point::Woke, None);
        }
        woken
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        self.schedule().name_baton(address(word)) as *const AtomicU32
    }

    fn cpus(&self) -> u64 {
        1
    }

    fn spin(&self, _partner: u64) -> u64 {
        0
    }

    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        if let Some(name) = wanted.name
            && self.is_taken(&space::file_name(name), wanted.kind)
        {
            return Err(Shm::Exists { what: format!("'{name}' in the lab"), path: space::file_name(name) }.into());
        }
        if self.refuses(Deadline::NoWait) {
            let what = wanted.name.map_or_else(|| "an object".into(), |name| format!("'{name}'"));
            return Err(Shm::OutOfSpace { what: format!("{what} in the lab"), lack: lack(wanted.size) }.into());
        }
        let region = self.room(wanted.size)?;
        let number = self.schedule().world.add_object(region.addresses());
        let me = self.me()?.process;
        let header = Header {
            kind: wanted.kind,
            space: 0,
            nonce: u64::from(number.0),
            creator: me.0,
            creator_pid: self.pid(me),
            parameters: wanted.parameters,
        };
        header.write(&region, "an object of the lab")?;
        (wanted.format)(&region)?;
        let file = wanted.name.map_or_else(|| format!("@{}", number.0 + 1), space::file_name);
        self.unlink(&file);
        let made = Made { region: region.clone(), header: header.clone(), file: file.clone(), linked: true };
        locked(&self.objects).made.push(made);
        if wanted.name.is_some() {
            self.announce();
        }
        Ok(Memory { region, header, file })
    }
}
