//! Objects that give each waiter something of its own, in a slot: who looks on is given nothing, and misses nothing.

use underpass_core::kernel::Watch;
use underpass_core::many::announce;
use underpass_core::notification::{CONSUME, Notification};
use underpass_core::semaphore::fair::Fair;
use underpass_core::semaphore::leased::Leased;
use underpass_core::wait::Sleepers;
use underpass_core::waiters::{Order, Room, UNRANKED, Waiters, Wish};
use underpass_core::{Deadline, Result};
use underpass_shm::layout::notification::NotificationWords;
use underpass_shm::layout::semaphore::{FairWords, HOLDERS, HolderWords, LeasedWords};
use underpass_shm::layout::waiters::{SlotWords, WaitersWords};
use underpass_shm::place::PlacedSlice;

use super::*;
use crate::semaphore::leased::tenures;

/// The flag that a direct waiter takes, and another.
const TAKEN: u64 = 1;
const OTHER: u64 = 2;

/// The words of those who have slots.
struct Line {
    words: Placed<WaitersWords>,
    slots: PlacedSlice<SlotWords>,
}

impl Line {
    fn new() -> Self {
        Self { words: Placed::own(WaitersWords::new()), slots: PlacedSlice::own(vec![SlotWords::new()]) }
    }

    fn waiters(&self) -> Waiters {
        Waiters::new(self.words.clone(), self.slots.clone(), PlacedSlice::own(Vec::new()))
    }

    /// A machine where an object with these words, and its own, is one of many.
    fn world<T>(&self, immortal: bool, own: &Placed<T>) -> Arc<World> {
        let own = part(std::slice::from_ref(&**own));
        World::of(immortal, watched(vec![own, part(std::slice::from_ref(&*self.words)), part(&self.slots)]))
    }
}

/// What a direct waiter waits for, and how it is given.
trait Object: Ready {
    /// One who waits for it alone.
    fn take(&self, kernel: &dyn Kernel) -> Result<()>;

    /// Gives what one who waits for it alone can take.
    fn give(&self, kernel: &dyn Kernel);

    /// Gives what makes it ready beside that.
    fn give_more(&self, kernel: &dyn Kernel) {
        self.give(kernel);
    }

    /// How many wait in slots.
    fn waiting(&self) -> usize;
}

impl Object for Notification {
    fn take(&self, kernel: &dyn Kernel) -> Result<()> {
        self.wait(kernel, Wish { value: TAKEN, how: CONSUME }, Deadline::Never).map(|flags| assert_eq!(flags, TAKEN))
    }

    fn give(&self, kernel: &dyn Kernel) {
        sure(self.notify(kernel, TAKEN));
    }

    fn give_more(&self, kernel: &dyn Kernel) {
        sure(self.notify(kernel, OTHER));
    }

    fn waiting(&self) -> usize {
        self.waiting()
    }
}

impl Object for Fair {
    fn take(&self, kernel: &dyn Kernel) -> Result<()> {
        self.acquire(kernel, Deadline::Never)
    }

    fn give(&self, kernel: &dyn Kernel) {
        sure(self.release(kernel, 1));
    }

    fn waiting(&self) -> usize {
        self.waiting()
    }
}

/// Whose units are taken by thread [`HOLDER`] before anything else: what it gives is one of them.
impl Object for Leased {
    fn take(&self, kernel: &dyn Kernel) -> Result<()> {
        self.acquire(kernel, Deadline::Never)
    }

    fn give(&self, kernel: &dyn Kernel) {
        sure(self.release(kernel, 1));
    }

    fn waiting(&self) -> usize {
        self.waiting()
    }
}

impl Object for Mutex {
    fn take(&self, kernel: &dyn Kernel) -> Result<()> {
        self.acquire(kernel, Deadline::Never)
    }

    fn give(&self, kernel: &dyn Kernel) {
        sure(self.release(kernel));
    }

    fn waiting(&self) -> usize {
        self.waiting()
    }
}

/// Who holds what is held.
const HOLDER: u32 = 3;

/// A machine with an object that is not ready.
type Scene<T> = (Arc<World>, Arc<T>);

fn notification(immortal: bool) -> Scene<Notification> {
    let (line, words) = (Line::new(), Placed::own(NotificationWords::new(0)));
    (line.world(immortal, &words), Arc::new(Notification::new(words, line.waiters())))
}

fn fair(immortal: bool) -> Scene<Fair> {
    let (line, words) = (Line::new(), Placed::own(FairWords::new(0)));
    let semaphore = Fair::new(words.clone(), line.waiters(), MOST, false, Order::Arrival);
    (line.world(immortal, &words), Arc::new(semaphore))
}

fn leased(immortal: bool, order: Option<Order>) -> Scene<Leased> {
    let (line, words) = (Line::new(), Placed::own(LeasedWords::new(2)));
    let entries = PlacedSlice::own((0..HOLDERS).map(|_| HolderWords::new()).collect());
    let semaphore = Arc::new(Leased::new(words.clone(), entries, tenures(), line.waiters(), order));
    let world = line.world(immortal, &words);
    world.run(HOLDER, |kernel| [(); 2].map(|()| sure(semaphore.acquire(kernel, Deadline::NoWait))));
    (world, semaphore)
}

fn mutex(immortal: bool) -> Scene<Mutex> {
    let (line, words) = (Line::new(), Placed::own(MutexWords::new()));
    let mutex = Arc::new(Mutex::fair(words.clone(), false, line.waiters(), Order::Arrival));
    let world = line.world(immortal, &words);
    world.run(HOLDER, |kernel| sure(mutex.acquire(kernel, Deadline::NoWait)));
    (world, mutex)
}

/// One that waits for it alone, in its slot by now.
fn direct<T: Object + 'static>((world, object): &Scene<T>) -> Running<()> {
    let running = world.spawn(2, {
        let object = object.clone();
        move |kernel| sure(object.take(kernel))
    });
    crate::notification::until_waiting(world, 1, || object.waiting());
    running
}

fn rings<T: Object + 'static>((world, object): Scene<T>) {
    let looks = onlooker(&world, 1, &object);
    world.run(HOLDER, |kernel| object.give(kernel));
    assert_eq!(looks.join(), [0]);
}

#[test]
fn test_a_change_rings() {
    explore(|| rings(notification(true)));
    explore(|| rings(fair(true)));
    explore(|| rings(mutex(true)));
    for order in [None, Some(Order::Arrival)] {
        explore(move || rings(leased(true, order)));
    }
}

/// One waits in a slot, and one comes to look on: what is given goes to the first, and what is more is seen by the other.
fn hands_over<T: Object + 'static>(scene: Scene<T>) {
    let waits = direct(&scene);
    let (world, object) = scene;
    let looks = onlooker(&world, 1, &object);
    world.run(HOLDER, |kernel| {
        object.give(kernel);
        object.give_more(kernel);
    });
    waits.join();
    assert_eq!(looks.join(), [0]);
}

#[test]
fn test_a_flag_goes_to_who_waits_and_skips_who_looks_on() {
    explore_long(|| hands_over(notification(true)));
}

#[test]
fn test_a_unit_is_handed_to_who_waits_and_skips_who_looks_on() {
    explore_long(|| hands_over(fair(true)));
}

#[test]
fn test_a_leased_unit_goes_to_who_waits_and_skips_who_looks_on() {
    for order in [None, Some(Order::Arrival)] {
        explore_long(move || hands_over(leased(true, order)));
    }
}

#[test]
fn test_a_mutex_is_handed_over_before_it_is_seen_free() {
    explore_long(|| {
        let (world, mutex) = mutex(true);
        let heir = world.spawn(2, {
            let mutex = mutex.clone();
            move |kernel| {
                sure(mutex.acquire(kernel, Deadline::Never));
                sure(mutex.release(kernel));
            }
        });
        crate::notification::until_waiting(&world, 1, || mutex.waiting());
        let looks = onlooker(&world, 1, &mutex);
        world.run(HOLDER, |kernel| sure(mutex.release(kernel)));
        heir.join();
        assert_eq!(looks.join(), [0]);
    });
}

/// It is ready at first, and taken while one looks who would wait otherwise.
fn is_taken_meanwhile<T: Object + 'static>((world, object): Scene<T>) {
    world.run(HOLDER, |kernel| object.give(kernel));
    let looks = world.spawn(1, {
        let object = object.clone();
        move |kernel| {
            let mut watch = Watch::new();
            let ready = sure(announce(&*object, kernel, &mut watch));
            assert!(ready || watch.words().next().is_some(), "it sleeps unannounced");
        }
    });
    world.run(2, |kernel| sure(object.take(kernel)));
    looks.join();
}

#[test]
fn test_who_finds_it_taken_is_announced() {
    explore(|| is_taken_meanwhile(notification(true)));
    explore(|| is_taken_meanwhile(fair(true)));
    explore(|| is_taken_meanwhile(mutex(true)));
    for order in [None, Some(Order::Arrival)] {
        explore(move || is_taken_meanwhile(leased(true, order)));
    }
}

/// Whoever gives dies at its first wake: who waits in a slot and who looks on are both told.
fn dies_before_it_tells<T: Object + 'static>(scene: Scene<T>, give: impl FnOnce(&dyn Kernel, &T) + 'static) {
    let waits = direct(&scene);
    let (world, object) = scene;
    let looks = onlooker(&world, 1, &object);
    world.until_asleep(2);
    let dying = world.spawn_dying(HOLDER, Dies::BeforeWake, {
        let object = object.clone();
        move |kernel| give(kernel, &object)
    });
    waits.join();
    assert_eq!(looks.join(), [0]);
    assert_eq!(dying.end(), None);
}

#[test]
fn test_giver_dies_before_it_tells() {
    explore_long(|| {
        dies_before_it_tells(notification(false), |kernel, it| assert_eq!(sure(it.notify(kernel, TAKEN | OTHER)), 0));
    });
    explore_long(|| dies_before_it_tells(fair(false), |kernel, it| sure(it.release(kernel, 2))));
}

/// Who held it dies, and gives nothing back.
fn holder_dies<T: Ready + 'static>((world, object): Scene<T>) {
    let looks = onlooker(&world, 1, &object);
    let dying = world.spawn(HOLDER, |kernel| kernel.die());
    assert_eq!(looks.join(), [0]);
    assert_eq!(dying.end(), None::<()>);
}

#[test]
fn test_holder_dies() {
    explore(|| holder_dies(mutex(false)));
    explore(|| holder_dies(leased(false, None)));
}

/// One who looks on, with a line that is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mistake {
    None,
    /// It says nowhere that it sleeps.
    Unannounced,
    /// It watches words, and nobody's life.
    WatchesNobody,
}

/// The object, as such an onlooker sees it.
#[derive(Debug)]
pub struct Careless<T> {
    pub object: Arc<T>,
    pub mistake: Mistake,
}

impl<T: Ready> Ready for Careless<T> {
    fn sleepers(&self) -> &dyn Sleepers {
        self.object.sleepers()
    }

    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        match (self.mistake, watch) {
            (Mistake::None, watch) => self.object.is_ready(kernel, watch),
            (Mistake::WatchesNobody, Some(watch)) => {
                let mut whole = Watch::new();
                let ready = self.object.is_ready(kernel, Some(&mut whole))?;
                whole.words().for_each(|(word, expected)| watch.word(word, expected));
                Ok(ready)
            }
            _ => self.object.is_ready(kernel, None),
        }
    }
}

fn careless<T>((world, object): Scene<T>, mistake: Mistake) -> (Arc<World>, Arc<T>, Arc<Careless<T>>) {
    (world, object.clone(), Arc::new(Careless { object, mistake }))
}

fn rings_the_careless<T: Object + 'static>(scene: Scene<T>, mistake: Mistake) {
    let (world, object, seen) = careless(scene, mistake);
    let looks = onlooker(&world, 1, &seen);
    world.until_asleep(1);
    world.run(HOLDER, |kernel| object.give(kernel));
    assert_eq!(looks.join(), [0]);
}

#[test]
fn test_without_a_mistake() {
    explore_long(|| rings_the_careless(fair(true), Mistake::None));
}

#[test]
#[should_panic = "deadlock"]
fn test_finds_one_that_a_notification_does_not_know() {
    explore_long(|| rings_the_careless(notification(true), Mistake::Unannounced));
}

#[test]
#[should_panic = "deadlock"]
fn test_finds_one_that_a_fair_semaphore_does_not_know() {
    explore_long(|| rings_the_careless(fair(true), Mistake::Unannounced));
}

#[test]
#[should_panic = "deadlock"]
fn test_finds_one_that_a_fair_mutex_does_not_know() {
    explore_long(|| rings_the_careless(mutex(true), Mistake::Unannounced));
}

#[test]
#[should_panic = "deadlock"]
fn test_finds_one_that_a_leased_semaphore_does_not_know() {
    explore_long(|| rings_the_careless(leased(true, None), Mistake::Unannounced));
}

#[test]
#[should_panic = "deadlock"]
fn test_finds_one_that_does_not_watch_the_holder_of_a_mutex() {
    explore(|| {
        let (world, _, seen) = careless(mutex(false), Mistake::WatchesNobody);
        holder_dies((world, seen));
    });
}

#[test]
#[should_panic = "deadlock"]
fn test_finds_one_that_does_not_watch_the_holders_of_units() {
    explore(|| {
        let (world, _, seen) = careless(leased(false, None), Mistake::WatchesNobody);
        holder_dies((world, seen));
    });
}

/// One that looks on, and stands in line for it.
#[derive(Debug)]
struct InLine {
    object: Arc<Fair>,
    waiters: Waiters,
}

impl Ready for InLine {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.waiters
    }

    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let Some(watch) = watch else { return self.object.is_ready(kernel, None) };
        let _held = self.waiters.enter(kernel, &*self.object)?;
        self.waiters.seat(kernel, &*self.object, Wish { value: 0, how: 0 }, UNRANKED)?;
        self.object.queued();
        self.waiters.announce_onlooker(watch);
        Ok(self.object.value() > 0)
    }
}

#[test]
#[should_panic(expected = "it was handed over")]
fn test_finds_one_that_is_handed_what_it_does_not_take() {
    explore_long(|| {
        let (line, words) = (Line::new(), Placed::own(FairWords::new(0)));
        let semaphore = Arc::new(Fair::new(words.clone(), line.waiters(), MOST, false, Order::Arrival));
        let world = line.world(true, &words);
        let looks = onlooker(&world, 1, &Arc::new(InLine { object: semaphore.clone(), waiters: line.waiters() }));
        world.until_asleep(1);
        world.run(HOLDER, |kernel| sure(semaphore.release(kernel, 1)));
        assert_eq!(semaphore.value(), 1, "it was handed over");
        looks.join();
    });
}
