//! A bell that is heard at descriptors, and those who sleep there, of one process: what is rung is told once, and reaches all.
//!
//! The words are those that ship, and what is done to them: `ring`, `strike`, `arm`, `Marks`. Under loom there are no descriptors: a
//! count that can be slept on stands for each, and the loop of a `WaitSet` around them is its loop without members that come and go.

use loom::sync::{Mutex, MutexGuard};
use underpass_core::kernel::Watch;
use underpass_core::many::{Marks, ring, watch};
use underpass_shm::layout::bell::{ARMED, BellWords, RUNG, RUNG_HERE};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use super::*;
use crate::kernel::join;

/// A line that is spoiled.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Takes the marks, and arms then.
    ArmsLate,
    /// Arms, takes the marks, and forgets what it was told then.
    ForgetsLate,
    /// Tells the owner before the mark is there.
    TellsEarly,
    /// Who has looked reminds nobody.
    RemindsNobody,
    /// Who has looked, and is about to sleep, does not ask what others have found meanwhile.
    KnowsNoNews,
    /// Whoever rings tells one of those who sleep in `epoll`s of their own.
    TellsOne,
    /// A loop that leaves the bell rung forgets what told it so.
    ForgetsAtAGlance,
    /// A loop that has armed the bell and finds something leaves its descriptors empty.
    FindsInSilence,
    /// A loop arms the bell and takes what was told before it looks, and leaves the marks to the next look.
    LeavesTheMarks,
}

/// What is written to, and can be slept on until it is read.
#[derive(Debug)]
struct Descriptor(AtomicU32);

impl Descriptor {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn write(&self, kernel: &dyn Kernel) {
        self.0.fetch_add(1, AcqRel);
        kernel.wake(&self.0, u32::MAX);
    }

    fn is_readable(&self) -> bool {
        self.0.load(Acquire) > 0
    }
}

/// Where somebody sleeps: with those who wait, or with those who dispatch.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Wait,
    Dispatch,
}

const VERBS: [Verb; 2] = [Verb::Wait, Verb::Dispatch];

/// What is known under the set's lock.
#[derive(Debug, Default)]
struct Known {
    /// Objects that may be ready, a bit for each.
    candidates: u64,
    /// Who sleeps, by verb.
    asleep: [usize; 2],
    /// How often something was found that is for that verb.
    news: [u32; 2],
}

/// What a poller tells.
#[derive(Debug, Clone, Copy)]
struct Told {
    own: bool,
    socket: bool,
}

/// A set of two objects, for either verb.
#[derive(Debug)]
struct Set {
    bell: BellWords,
    watchers: WatchersWords,
    objects: [AtomicU32; 2],
    /// Each verb's eventfd.
    own: [Descriptor; 2],
    socket: Descriptor,
    known: Mutex<Known>,
    mistake: Mistake,
}

impl Set {
    fn new(mistake: Mistake) -> Arc<Self> {
        let set = Self {
            bell: BellWords::new(),
            watchers: WatchersWords::new(),
            objects: [AtomicU32::new(0), AtomicU32::new(0)],
            own: [Descriptor::new(), Descriptor::new()],
            socket: Descriptor::new(),
            known: Mutex::default(),
            mistake,
        };
        set.bell.socket.store(ARMED, Release);
        watch(&set.watchers, 0);
        Arc::new(set)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// Makes an object ready, and rings: its own process, or another.
    fn set(&self, kernel: &dyn Kernel, object: usize, word: u32) {
        self.objects[object].store(1, Release);
        if self.mistake == Mistake::TellsEarly {
            self.knock(kernel, word);
        }
        ring(
            &self.watchers,
            object as u64,
            |_| Some(&self.bell),
            |_, _| {
                if self.mistake != Mistake::TellsEarly {
                    self.knock(kernel, word);
                }
                true
            },
        );
    }

    /// `Lives::knock`.
    fn knock(&self, kernel: &dyn Kernel, word: u32) {
        if self.bell.strike(word).is_none() {
            return;
        }
        if word == RUNG {
            self.socket.write(kernel);
            return;
        }
        let told = if self.mistake == Mistake::TellsOne { &self.own[..1] } else { &self.own };
        told.iter().for_each(|own| own.write(kernel));
    }

    /// `WaitSet.wait` and `WaitSet.dispatch`: the objects that are ready, a bit for each.
    fn wait(&self, kernel: &dyn Kernel, verb: Verb) -> u64 {
        let mut heard = None;
        loop {
            let (rung, sleeps) = {
                let mut known = self.known();
                known.asleep[verb as usize] += 1;
                let sleeps = heard == Some(known.news[verb as usize]);
                (if heard.is_some() { ARMED } else { self.bell.socket.load(Acquire) }, sleeps)
            };
            let told = match rung {
                RUNG_HERE => Told { own: true, socket: false },
                RUNG => Told { own: false, socket: true },
                _ => self.poll(kernel, verb, sleeps || heard.is_some() && self.mistake == Mistake::KnowsNoNews),
            };
            let mut candidates = {
                let mut known = self.known();
                known.asleep[verb as usize] -= 1;
                known.candidates |= self.hear(verb, told);
                heard = Some(known.news[verb as usize]);
                std::mem::take(&mut known.candidates)
            };
            for (object, ready) in self.objects.iter().enumerate() {
                if ready.load(Acquire) == 0 {
                    candidates &= !(1 << object);
                }
            }
            self.learn(kernel, candidates);
            if candidates != 0 {
                return candidates;
            }
        }
    }

    /// `Poller::wait`.
    fn poll(&self, kernel: &dyn Kernel, verb: Verb, sleeps: bool) -> Told {
        let own = &self.own[verb as usize];
        loop {
            let told = Told { own: own.is_readable(), socket: self.socket.is_readable() };
            if told.own || told.socket || !sleeps {
                return told;
            }
            let mut watch = Watch::new();
            watch.word(&own.0, 0);
            watch.word(&self.socket.0, 0);
            kernel.park(&watch, &[], None);
        }
    }

    /// `Hearing::hear`.
    fn hear(&self, verb: Verb, told: Told) -> u64 {
        let mut marks = Marks::none();
        if self.mistake != Mistake::ForgetsLate {
            self.forget(verb, told);
        }
        if self.mistake == Mistake::ArmsLate {
            marks.take(&self.bell);
            self.bell.arm();
        } else {
            self.bell.arm();
            marks.take(&self.bell);
        }
        if self.mistake == Mistake::ForgetsLate {
            self.forget(verb, told);
        }
        marks.iter().fold(0, |all, mark| all | 1 << mark)
    }

    /// An eventfd forgets all, a socket one message; neither waits for one that is not there yet.
    fn forget(&self, verb: Verb, told: Told) {
        if told.own {
            self.own[verb as usize].0.swap(0, AcqRel);
        }
        if told.socket {
            let _ = self.socket.0.fetch_update(AcqRel, Relaxed, |messages| messages.checked_sub(1));
        }
    }

    /// `State::learn`.
    fn learn(&self, kernel: &dyn Kernel, ready: u64) {
        if ready == 0 {
            return;
        }
        let mut known = self.known();
        known.candidates |= ready;
        for other in VERBS {
            known.news[other as usize] += 1;
            if known.asleep[other as usize] > 0 && self.mistake != Mistake::RemindsNobody {
                self.own[other as usize].write(kernel);
            }
        }
    }

    /// `WaitSet.ready` of a loop that polls both descriptors: what is ready.
    fn look(&self, kernel: &dyn Kernel, glanced: &mut bool) -> u64 {
        loop {
            *glanced = !*glanced && self.bell.socket.load(Acquire) != ARMED;
            let told = Told { own: true, socket: self.socket.is_readable() };
            let mut ready = {
                let mut known = self.known();
                known.candidates |= match (*glanced, self.mistake) {
                    (true, Mistake::ForgetsAtAGlance) => {
                        self.forget(Verb::Wait, told);
                        self.glance()
                    }
                    (true, _) => self.glance(),
                    (false, Mistake::LeavesTheMarks) => {
                        self.forget(Verb::Wait, told);
                        self.bell.arm();
                        0
                    }
                    (false, _) => self.hear(Verb::Wait, told),
                };
                std::mem::take(&mut known.candidates)
            };
            for (object, word) in self.objects.iter().enumerate() {
                if word.load(Acquire) == 0 {
                    ready &= !(1 << object);
                }
            }
            self.known().candidates |= ready;
            if ready != 0 && !*glanced && self.mistake != Mistake::FindsInSilence {
                self.own[Verb::Wait as usize].write(kernel);
            }
            if ready != 0 || !*glanced {
                return ready;
            }
        }
    }

    /// `Hearing::glance`.
    fn glance(&self) -> u64 {
        let mut marks = 0;
        Marks::take_each(&self.bell, |mark| marks |= 1 << mark);
        marks
    }

    /// A loop: sleeps until a descriptor is readable, looks, and takes one of what is ready; until it has had both objects.
    fn poll_and_take_both(&self, kernel: &dyn Kernel, mut glanced: bool) {
        let mut had = 0;
        while had != 3 {
            self.poll(kernel, Verb::Wait, true);
            let ready = self.look(kernel, &mut glanced);
            if ready != 0 {
                let object = ready.trailing_zeros();
                had |= u64::from(self.objects[object as usize].swap(0, AcqRel)) << object;
            }
        }
    }

    /// Takes what is ready, until it has had both objects.
    fn take_both(&self, kernel: &dyn Kernel) {
        let mut had = 0;
        while had != 3 {
            let ready = self.wait(kernel, Verb::Wait);
            for object in (0..2).filter(|object| ready >> object & 1 != 0) {
                had |= u64::from(self.objects[object].swap(0, AcqRel)) << object;
            }
        }
    }
}

fn ringer(world: &Arc<World>, life: u32, set: &Arc<Set>, object: usize, word: u32) -> Running<()> {
    let set = set.clone();
    world.spawn(life, move |kernel| set.set(kernel, object, word))
}

/// Its own process rings, and another, while it looks and sleeps.
fn two_ring(words: [u32; 2], mistake: Mistake) {
    explore(move || {
        let (world, set) = (World::new(), Set::new(mistake));
        let ringers = [0, 1].map(|object| ringer(&world, object as u32 + 1, &set, object, words[object]));
        world.run(3, |kernel| set.take_both(kernel));
        join(ringers);
    });
}

/// The same, and what looks is a loop that polls, whose last look was a glance or not.
fn two_ring_for_a_loop(words: [u32; 2], glanced: bool, mistake: Mistake) {
    explore(move || {
        let (world, set) = (World::new(), Set::new(mistake));
        let ringers = [0, 1].map(|object| ringer(&world, object as u32 + 1, &set, object, words[object]));
        world.run(3, |kernel| set.poll_and_take_both(kernel, glanced));
        join(ringers);
    });
}

#[test]
fn test_a_loop_is_told_until_it_finds_nothing() {
    for glanced in [false, true] {
        two_ring_for_a_loop([RUNG_HERE, RUNG_HERE], glanced, Mistake::None);
        two_ring_for_a_loop([RUNG_HERE, RUNG], glanced, Mistake::None);
        two_ring_for_a_loop([RUNG, RUNG], glanced, Mistake::None);
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_forgets_at_a_glance() {
    two_ring_for_a_loop([RUNG_HERE, RUNG_HERE], false, Mistake::ForgetsAtAGlance);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_finds_in_silence() {
    two_ring_for_a_loop([RUNG_HERE, RUNG_HERE], true, Mistake::FindsInSilence);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_leaves_the_marks() {
    two_ring_for_a_loop([RUNG_HERE, RUNG_HERE], true, Mistake::LeavesTheMarks);
}

#[test]
fn test_no_ring_of_its_own_process_is_lost() {
    two_ring([RUNG_HERE, RUNG_HERE], Mistake::None);
}

#[test]
fn test_no_ring_is_lost_where_another_process_rings_as_well() {
    two_ring([RUNG_HERE, RUNG], Mistake::None);
}

#[test]
fn test_rings_in_a_row_are_told_once() {
    explore(|| {
        let (world, set) = (World::new(), Set::new(Mistake::None));
        world.run(1, |kernel| {
            set.set(kernel, 0, RUNG_HERE);
            set.set(kernel, 1, RUNG_HERE);
            set.set(kernel, 1, RUNG);
        });
        assert_eq!((set.own[0].0.load(Relaxed), set.socket.0.load(Relaxed)), (1, 0));
        assert_eq!(world.run(2, |kernel| set.wait(kernel, Verb::Wait)), 3);
    });
}

/// Two sleep in the set, and one object becomes ready, which both are told of.
fn two_sleep(verbs: [Verb; 2], word: u32, mistake: Mistake) {
    explore_long(move || {
        let (world, set) = (World::new(), Set::new(mistake));
        let sleepers = [0, 1].map(|number: usize| {
            let set = set.clone();
            world.spawn(number as u32 + 1, move |kernel| set.wait(kernel, verbs[number]))
        });
        world.run(3, |kernel| set.set(kernel, 0, word));
        assert_eq!(join(sleepers), [1, 1]);
    });
}

#[test]
fn test_who_waits_and_who_dispatches_are_both_told() {
    for word in [RUNG_HERE, RUNG] {
        two_sleep(VERBS, word, Mistake::None);
    }
}

#[test]
fn test_two_who_sleep_in_one_epoll_are_both_told() {
    for word in [RUNG_HERE, RUNG] {
        two_sleep([Verb::Dispatch; 2], word, Mistake::None);
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_arms_late() {
    two_ring([RUNG_HERE, RUNG_HERE], Mistake::ArmsLate);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_forgets_late() {
    two_ring([RUNG_HERE, RUNG_HERE], Mistake::ForgetsLate);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_tells_before_the_mark() {
    two_ring([RUNG_HERE, RUNG_HERE], Mistake::TellsEarly);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_reminds_nobody() {
    two_sleep(VERBS, RUNG, Mistake::RemindsNobody);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_knows_no_news() {
    two_sleep(VERBS, RUNG, Mistake::KnowsNoNews);
}

/// Who dispatches sleeps alone, and the `epoll` of those who wait is told.
#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_tells_one_epoll() {
    explore(|| {
        let (world, set) = (World::new(), Set::new(Mistake::TellsOne));
        let ringer = ringer(&world, 1, &set, 0, RUNG_HERE);
        assert_eq!(world.run(2, |kernel| set.wait(kernel, Verb::Dispatch)), 1);
        ringer.join();
    });
}
