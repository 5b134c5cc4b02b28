//! The kernel of the product: Linux, through the futexes and lives of one space.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use underpass_shm::futex::{self, Compared, MAX_WORDS, Woke};
use underpass_shm::header::{self, Header, Kind};
use underpass_shm::layout::bell::{BellWords, WatchersWords};
use underpass_shm::life::{Life, Me};
use underpass_shm::lives::{self, Lives};
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::region::Region;
use underpass_shm::space::{Entry, Space};
use underpass_shm::sync::{AtomicU32, AtomicU64};
use underpass_shm::waits::Wait;
use underpass_shm::{baton, clock, cpus, priority};

use crate::kernel::{Announced, Kernel, Lent, Locked, Memory, Parked, Purpose, Wanted, Watch};
use crate::many::{self, Bell};
use crate::site::Site;
use crate::{Error, Result, waits};

/// After this long every sleeper looks for itself: the backstop for stopped processes and two deaths in one instant.
const RECHECK: u64 = 1_000_000_000;
/// The first sleep of somebody whom nothing would tell of an end; doubled each time, up to the re-check.
const NAP: u64 = 50_000;
/// A thread that waits in the kernel for a mutex that lends hears no signal: the one that runs the interpreter's handlers
/// looks as often as this.
const SLICE: u64 = 50_000_000;
/// The longest spin of a process whose other threads do not want the interpreter.
const LONGEST_SPIN: u64 = 50_000;

/// Lives that there is room for beside any number of batons.
const LEAST_LIVES: usize = 16;

/// Places that what was announced at one object takes in a sleep.
fn places(announced: &Announced<'_>) -> usize {
    announced.words.len() + 2 * usize::from(announced.wide.is_some())
}

/// The first of these batons, with what was announced beside them, that fit into so many places.
fn beside<'w, 'a>(
    batons: &'w [&'w AtomicU32],
    announced: &'w [Announced<'a>],
    mut room: usize,
) -> (&'w [&'w AtomicU32], &'w [Announced<'a>]) {
    let mut fits = |index: usize| {
        let needed = 1 + announced.get(index).map_or(0, places);
        let fits = needed <= room;
        room -= if fits { needed } else { 0 };
        fits
    };
    let count = (0..batons.len()).take_while(|index| fits(*index)).count();
    (&batons[..count], &announced[..announced.len().min(count)])
}

/// Fills places in which no word stands.
static NOBODYS: AtomicU32 = AtomicU32::new(0);

/// The re-check interval in force; tests turn it off to see that the kernel tells.
static RECHECK_EVERY: AtomicU64 = AtomicU64::new(RECHECK);

/// Sets the re-check interval of this process, in nanoseconds. For tests: `u64::MAX` turns it off.
pub fn set_recheck(interval: u64) {
    RECHECK_EVERY.store(interval, Relaxed);
}

/// How long a sleeper whom nobody tells anything sleeps at most, in nanoseconds.
#[must_use]
pub fn recheck() -> u64 {
    RECHECK_EVERY.load(Relaxed)
}

/// After how many nanoseconds of waiting a thread says so; tools and worried programs turn it on.
static WARN_AFTER: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets after how long a thread of this process says that it still waits, in nanoseconds, and returns what was set before.
/// `u64::MAX` turns it off.
pub fn set_warn_after(interval: u64) -> u64 {
    WARN_AFTER.swap(interval.max(1), Relaxed)
}

/// A wait that has become long, as its host is told of it.
#[derive(Debug)]
pub struct StillWaiting<'a> {
    /// The object, as `queue 'jobs'`; of many all that have a file still.
    pub object: Cow<'a, str>,
    /// What it waits in.
    pub verb: &'a str,
    /// For how long, in nanoseconds.
    pub waited: u64,
    /// Who holds it.
    pub holders: Vec<Held>,
}

/// One who holds what is waited for.
#[derive(Debug)]
pub struct Held {
    /// The process.
    pub pid: u32,
    /// The thread; none if any of the process can give it back.
    pub tid: Option<u32>,
    /// It is of the process that waits.
    pub is_here: bool,
    /// For how many nanoseconds, if that is known.
    pub time: Option<u64>,
    /// Where it took it, if that was written down.
    pub site: Option<Site>,
}

/// What is waited for together, as `queue 'jobs', event 'stop'`.
fn titles(members: &[(Kind, Entry)]) -> String {
    let title = |(kind, entry): &(Kind, Entry)| match &entry.name {
        Some(name) => format!("{} '{name}'", kind.name().to_lowercase()),
        None => format!("{} {}", kind.name().to_lowercase(), entry.file),
    };
    members.iter().map(title).collect::<Vec<_>>().join(", ")
}

/// Has a wait say that it is a long one, if it is time for that, and tells until when it may be silent; none: a handler
/// raised. For a wait that sleeps elsewhere than in [`Kernel::park`]; `purpose.since` says since when.
pub fn warn(purpose: &Purpose, now: u64, still_waiting: impl FnOnce() -> bool) -> Option<u64> {
    let after = WARN_AFTER.load(Relaxed);
    if after == u64::MAX {
        return Some(u64::MAX);
    }
    let due = |warnings: u32| {
        let interval = 1_u64.checked_shl(warnings).and_then(|factor| after.checked_mul(factor));
        interval.map_or(u64::MAX, |interval| purpose.since.get().saturating_add(interval))
    };
    let before = purpose.warnings.get();
    let mut warnings = before;
    while due(warnings) <= now {
        warnings += 1;
    }
    purpose.warnings.set(warnings);
    if warnings > before && still_waiting() { None } else { Some(due(warnings)) }
}

/// The object that a kernel is used for, as those who look on know it.
#[derive(Debug)]
struct Object {
    header: Header,
    region: Arc<Region>,
    watchers: Placed<WatchersWords>,
    title: String,
}

/// The interpreter that runs above, or nobody.
pub trait Host: Send + Sync + std::fmt::Debug {
    /// Calls `sleep` while other threads of the interpreter may run.
    fn detached(&self, sleep: &mut dyn FnMut());
    /// Runs the interpreter's signal handlers; true if one raised.
    fn signals(&self) -> bool;
    /// Does long work while other threads of the interpreter may run, then runs its signal handlers; true if one raised.
    fn meanwhile(&self, work: &mut dyn FnMut()) -> bool {
        self.detached(work);
        self.signals()
    }
    /// Says that the calling thread still waits; true if that raised.
    fn still_waiting(&self, waiting: &StillWaiting<'_>) -> bool;
    /// Is told before the first sleep of an operation, which blocks whatever else the thread runs; true if that raised.
    fn blocks(&self, object: &str, verb: &str) -> bool;
    /// With which priority the caller has said that it waits, if it has.
    fn priority(&self) -> Option<i32>;
    /// How long a thread may spin while it keeps the interpreter from others, in nanoseconds.
    fn longest_spin(&self) -> u64;
}

/// No interpreter: for Rust's own tests.
#[derive(Debug)]
pub struct NoHost;

impl Host for NoHost {
    fn detached(&self, sleep: &mut dyn FnMut()) {
        sleep();
    }

    fn signals(&self) -> bool {
        false
    }

    fn still_waiting(&self, _waiting: &StillWaiting<'_>) -> bool {
        false
    }

    fn blocks(&self, _object: &str, _verb: &str) -> bool {
        false
    }

    fn priority(&self) -> Option<i32> {
        None
    }

    fn longest_spin(&self) -> u64 {
        LONGEST_SPIN
    }
}

/// One space of this machine.
#[derive(Debug)]
pub struct Linux {
    space: Arc<Space>,
    host: &'static dyn Host,
    object: Option<Object>,
}

/// While this lives, the thread's entry in the table says what it sleeps for.
struct Told<'a>(&'a Lives);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.sleeps_no_more();
    }
}

impl Linux {
    /// The world of the objects in `space`.
    #[must_use]
    pub fn new(space: Arc<Space>, host: &'static dyn Host) -> Self {
        Self { space, host, object: None }
    }

    /// The same world, as one object uses it: who sleeps here is seen to wait for that object.
    #[must_use]
    pub fn of(&self, header: Header, region: Arc<Region>, title: String) -> Self {
        let watchers = header::watchers(&region);
        let object = watchers.map(|watchers| Object { header, region, watchers, title });
        Self { space: self.space.clone(), host: self.host, object }
    }

    /// Writes what the calling thread is about to sleep for.
    fn tell(&self, watch: &Watch<'_>, now: u64) -> Option<Told<'_>> {
        let (object, purpose) = (self.object.as_ref()?, watch.purpose.as_ref()?);
        if purpose.since.get() == 0 {
            purpose.since.set(now);
        }
        let (lives, header) = (self.space.lives(), &object.header);
        let count = [Life(purpose.members)];
        let awaited = if purpose.operation.is_of_many() { &count } else { watch.lives() };
        lives.sleeps_for(header.nonce, header.kind, purpose.operation, purpose.since.get(), awaited);
        Some(Told(lives))
    }

    /// The host does not let this operation sleep. It is asked once, and not for the moment that a lock inside an object takes.
    fn is_blocked(&self, watch: &Watch<'_>) -> bool {
        let (Some(object), Some(purpose)) = (&self.object, &watch.purpose) else { return false };
        let is_first = purpose.since.get() == 0 && purpose.operation != Operation::Lock;
        is_first && self.host.blocks(&object.title, purpose.operation.verb(object.header.kind))
    }

    /// Says that this wait is a long one, if it is time for that, and until when it may be silent; none: a handler raised.
    fn warn(&self, watch: &Watch<'_>, now: u64) -> Option<u64> {
        let (Some(object), Some(purpose)) = (&self.object, &watch.purpose) else { return Some(u64::MAX) };
        warn(purpose, now, || self.host.still_waiting(&self.still_waiting(object, purpose, watch.lives(), now)))
    }

    /// Waits in `sleep`, which ends after that time at the latest, for an object of that name; others see it meanwhile.
    pub fn await_name(
        &self,
        kind: Kind,
        name: &str,
        purpose: &Purpose,
        patience: Duration,
        sleep: impl FnOnce(&Space, Duration) -> underpass_shm::Result<()>,
    ) -> Result<()> {
        let now = clock::monotonic();
        if purpose.since.get() == 0 {
            if self.host.blocks(&self.space.describe(name), purpose.operation.verb(kind)) {
                return Err(Error::Interrupted);
            }
            purpose.since.set(now);
        }
        let (operation, since) = (purpose.operation, purpose.since.get());
        let still_waiting = || {
            let (object, waited) = (self.space.describe(name).into(), now.saturating_sub(since));
            let verb = operation.verb(kind);
            self.host.still_waiting(&StillWaiting { object, verb, waited, holders: Vec::new() })
        };
        let Some(silent_until) = warn(purpose, now, still_waiting) else { return Err(Error::Interrupted) };
        let patience = patience.min(Duration::from_nanos(silent_until.saturating_sub(now)));
        self.space.lives().sleeps_for_name(kind, name, since);
        let _told = Told(self.space.lives());
        let (mut sleep, mut slept) = (Some(sleep), Ok(()));
        self.host.detached(&mut || {
            if let Some(sleep) = sleep.take() {
                slept = sleep(&self.space, patience);
            }
        });
        Ok(slept?)
    }

    fn still_waiting<'a>(&self, object: &'a Object, purpose: &Purpose, lives: &[Life], now: u64) -> StillWaiting<'a> {
        let (operation, since, members) = (purpose.operation, purpose.since.get(), purpose.members);
        let header = &object.header;
        let wait = Wait {
            object: header.nonce,
            kind: header.kind,
            operation,
            since,
            lives: lives.to_vec(),
            members,
            name: None,
        };
        let many = match (operation, self.space.lives().me()) {
            (operation, Ok(me)) if operation.is_of_many() => waits::of_many(&self.space, me.thread, &wait).ok(),
            _ => None,
        };
        let (title, holders) = many.map_or_else(
            || (Cow::from(&object.title), waits::holders(&self.space, &wait, Some((header, &object.region))).0),
            |(members, holders)| (titles(&members).into(), holders),
        );
        let holders = holders.iter().map(|holder| self.held(holder, now)).collect();
        let verb = operation.verb(header.kind);
        StillWaiting { object: title, verb, waited: now.saturating_sub(since), holders }
    }

    fn held(&self, holder: &waits::Holder, now: u64) -> Held {
        let (life, lives) = (holder.life, self.space.lives());
        let (process, tid) =
            if life.is_process() { (life, None) } else { (lives.process_of(life), Some(lives.tid(life))) };
        Held {
            pid: self.pid(life),
            tid: tid.filter(|tid| *tid != 0),
            is_here: lives.me().is_ok_and(|me| me.process == process),
            time: holder.since.map(|since| now.saturating_sub(since)),
            site: holder.site,
        }
    }

    /// Where its objects are files.
    #[must_use]
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }
}

impl Kernel for Linux {
    fn now(&self) -> u64 {
        clock::monotonic()
    }

    fn me(&self) -> Result<Me> {
        Ok(self.space.lives().me()?)
    }

    fn alive(&self, life: Life) -> bool {
        self.space.lives().alive(life)
    }

    fn pid(&self, life: Life) -> u32 {
        self.space.lives().pid(life)
    }

    fn park(&self, watch: &Watch<'_>, batons: &[&AtomicU32], until: Option<u64>) -> Parked {
        if self.host.signals() {
            return Parked::Interrupted;
        }
        if self.is_blocked(watch) {
            return Parked::Interrupted;
        }
        let now = clock::monotonic();
        let _told = self.tell(watch, now);
        let Some(silent_until) = self.warn(watch, now) else { return Parked::Interrupted };
        let table = self.space.lives();
        let mut words = [(&NOBODYS, 0); MAX_WORDS];
        let mut count = 0;
        for pair in watch.words() {
            words[count] = pair;
            count += 1;
        }
        let tokens = count;
        let again = tokens + if watch.wide.is_some() { 2 } else { 0 };
        let (batons, announced) = beside(batons, &watch.announced, MAX_WORDS - tokens - again - LEAST_LIVES);
        let again = again + announced.iter().map(places).sum::<usize>();
        let room = MAX_WORDS - tokens - batons.len() - again;
        let mut unseen = watch.unheard;
        for life in watch.lives().iter().take(room) {
            match table.watch(*life) {
                lives::Watch::Token(word, value) => {
                    words[count] = (word, value);
                    count += 1;
                }
                lives::Watch::Unseen => unseen = true,
                lives::Watch::Ended => return Parked::Look,
            }
        }
        let naps = if unseen { watch.naps.get() + 1 } else { 0 };
        watch.naps.set(naps);
        let longest = RECHECK_EVERY.load(Relaxed);
        // A process that exits marks its threads' tokens a little before it drops its lock: soon it will be seen.
        let longest = if unseen { NAP.checked_shl(naps).unwrap_or(RECHECK).min(RECHECK).min(longest) } else { longest };
        let recheck = now.saturating_add(longest).min(silent_until);
        let sleep_until = until.map_or(recheck, |time| time.min(recheck));
        let (mut shared, mut compared) = (count, Compared { words: &[], wide: watch.wide.as_slice() });
        for baton in batons {
            // Of several that were woken, futex_waitv tells the last.
            words[shared] = (baton, 0);
            shared += 1;
        }
        if !batons.is_empty() {
            // Whoever dies between a change and its wake is told by the baton alone, on which this sleeper is queued last.
            compared.words = &words[..tokens];
        }
        let (of_all, wide_of_all): (Vec<_>, Vec<_>);
        if !announced.is_empty() {
            of_all = compared.words.iter().chain(announced.iter().flat_map(|one| &one.words)).copied().collect();
            wide_of_all = compared.wide.iter().copied().chain(announced.iter().filter_map(|one| one.wide)).collect();
            compared = Compared { words: &of_all, wide: &wide_of_all };
        }
        let mut woke = Woke::Changed;
        self.host.detached(&mut || {
            woke = futex::wait_any(&words[..shared], compared, (sleep_until != u64::MAX).then_some(sleep_until));
        });
        match woke {
            Woke::Word(index) => {
                for (token, value) in &words[tokens..count] {
                    // The kernel tells one sleeper of an end; that one tells the others, who re-target.
                    if token.load(Acquire) != *value {
                        futex::wake(token, u32::MAX);
                    }
                }
                if index >= count { Parked::Baton } else { Parked::Look }
            }
            // A word that changes at every look, or that somebody scribbled on, must not outlast the deadline.
            Woke::Expired | Woke::Changed if until.is_some_and(|time| clock::monotonic() >= time) => Parked::Expired,
            Woke::Expired => {
                // A program that closes what it does not know may have dropped this process's lock. If it cannot be had
                // again, others still see the threads.
                let _ = table.keep();
                Parked::Look
            }
            Woke::Interrupted if self.host.signals() => Parked::Interrupted,
            Woke::Changed | Woke::Interrupted => Parked::Look,
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        // The system's call for nobody wakes one.
        let woken = if count == 0 { 0 } else { futex::wake(word, count) };
        if let Some(object) = &self.object {
            let lives = self.space.lives();
            let bell = |number| lives.bell(number);
            let rung = |number, bell: &BellWords| match bell.socket.load(Acquire) {
                0 => futex::wake(&bell.rings, 1) > 0 || lives.alive(Life(bell.owner.load(Relaxed))),
                _ => lives.knock(number, bell),
            };
            many::ring(&object.watchers, object.header.nonce, bell, rung);
        }
        woken
    }

    fn bell(&self) -> Result<Bell<'_>> {
        let lives = self.space.lives();
        let number = lives.my_bell()?;
        let words = lives.bell(number).ok_or_else(|| Error::Corrupted("a bell has no words".into()))?;
        Ok(Bell { words, number })
    }

    fn lock_pi(&self, lent: Lent<'_>, watch: &mut Watch<'_>, until: Option<u64>) -> Result<Locked> {
        let asks = until == Some(0);
        if self.host.signals() || !asks && self.is_blocked(watch) {
            return Ok(Locked::Interrupted);
        }
        let now = clock::monotonic();
        let told = if asks { None } else { self.tell(watch, now) };
        let Some(silent_until) = (if asks { Some(0) } else { self.warn(watch, now) }) else {
            return Ok(Locked::Interrupted);
        };
        let slice = if lent.tid == std::process::id() { SLICE } else { RECHECK };
        let look_at = now.saturating_add(slice.min(RECHECK_EVERY.load(Relaxed))).min(silent_until);
        let sleep_until = until.map_or(look_at, |time| time.min(look_at));
        let mut slept = futex::Lent::Unsettled;
        self.host.detached(&mut || {
            slept = futex::lock_pi(lent.word, (sleep_until != u64::MAX).then_some(sleep_until));
        });
        drop(told);
        match slept {
            futex::Lent::Mine => Ok(Locked::Mine),
            futex::Lent::Expired if until.is_some_and(|time| clock::monotonic() >= time) => Ok(Locked::Expired),
            futex::Lent::Expired => {
                let _ = self.space.lives().keep();
                Ok(if self.host.signals() { Locked::Interrupted } else { Locked::Look })
            }
            futex::Lent::Cycle => Ok(Locked::Cycle),
            futex::Lent::Forged => Ok(Locked::Forged),
            futex::Lent::Unsettled => {
                // Nothing tells of the kernel's next step: a nap, or the end of who is in the word, if that is known.
                let mut nap = Watch::new();
                nap.word(lent.turn, lent.turn.load(Acquire));
                watch.lives().iter().for_each(|life| nap.life(*life));
                nap.unheard = true;
                nap.naps.set(watch.naps.get());
                nap.purpose = watch.purpose.take();
                let parked = self.park(&nap, &[], until);
                watch.naps.set(nap.naps.get());
                watch.purpose = nap.purpose;
                Ok(match parked {
                    Parked::Look | Parked::Baton => Locked::Look,
                    Parked::Expired => Locked::Expired,
                    Parked::Interrupted => Locked::Interrupted,
                })
            }
        }
    }

    fn unlock_pi(&self, lent: Lent<'_>) -> Result<()> {
        let why = "the kernel does not know this thread as the one that holds it";
        if futex::unlock_pi(lent.word) { Ok(()) } else { Err(Error::Corrupted(why.into())) }
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        baton::name(word)
    }

    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        let Wanted { name, kind, extent, parameters, mode, .. } = *wanted;
        let newborn = self.space.newborn(name, kind, extent, parameters, mode, &|work| self.host.meanwhile(work))?;
        (wanted.format)(&newborn.region)?;
        let (region, header) = (newborn.region.clone(), newborn.header.clone());
        Ok(Memory { region, header, file: newborn.publish(false)? })
    }

    fn priority(&self) -> i32 {
        self.host.priority().unwrap_or_else(priority::real_time)
    }

    fn cpus(&self) -> u64 {
        cpus::mine()
    }

    fn spin(&self, partner: u64) -> u64 {
        if cpus::together(partner) { self.host.longest_spin() } else { 0 }
    }
}
