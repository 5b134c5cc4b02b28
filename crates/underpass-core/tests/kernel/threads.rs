//! Lives of threads: many in one table, and slots that are reused.

use std::collections::{HashMap, HashSet};

use underpass_core::kernel::Kernel;
use underpass_shm::life::Life;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::SeqCst;

use crate::process::{Process, change, sleep_while, until};
use crate::world::{OFF, World};

/// Threads that a new table has room for, before it grows.
const CHUNK: usize = 512;
const MANY: usize = 1000;
const SMALL_STACK: usize = 64 << 10;

/// Where threads wait for each other.
#[derive(Default)]
struct Meeting {
    arrived: AtomicU32,
    complete: AtomicU32,
}

impl Meeting {
    fn of(&self, count: usize) {
        if self.arrived.fetch_add(1, SeqCst) as usize + 1 == count {
            change(&self.complete, 1);
        }
        sleep_while(&self.complete, 0);
    }
}

/// The lives of `count` threads that exist at one time; they have ended when this returns.
fn generation(world: &World, count: usize) -> Vec<Life> {
    let (all_live, all_seen) = (Meeting::default(), Meeting::default());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                let life = || {
                    let me = world.kernel.me().expect("the table grows");
                    all_live.of(count);
                    assert!(world.kernel.alive(me.thread));
                    all_seen.of(count);
                    me.thread
                };
                std::thread::Builder::new().stack_size(SMALL_STACK).spawn_scoped(scope, life).expect("a thread")
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it lived")).collect()
    })
}

#[test]
fn test_thousand_threads_have_a_thousand_lives_in_one_table() {
    let world = World::new();
    let lives = generation(&world, MANY);
    assert_eq!(lives.iter().collect::<HashSet<_>>().len(), MANY, "all different");
    assert!(lives.iter().all(|life| !world.kernel.alive(*life)), "all ended");
    let again = generation(&world, MANY);
    assert!(again.iter().all(|life| !lives.contains(life)), "no id is used twice");
}

#[test]
fn test_table_grows_from_several_processes_at_once() {
    const EACH: usize = 300;
    let world = World::new();
    let processes = [0, 1, 2, 3].map(|process| {
        let world = &world;
        Process::start(move || {
            std::thread::scope(|scope| {
                for thread in 0..EACH {
                    let life = move || {
                        let me = world.kernel.me().expect("the table grows");
                        world.word(100 + process * EACH + thread).store(me.thread.0, SeqCst);
                        sleep_while(world.word(0), 0);
                    };
                    std::thread::Builder::new().stack_size(SMALL_STACK).spawn_scoped(scope, life).expect("a thread");
                }
            });
        })
    });
    let known = || (0..4 * EACH).map(|index| Life(world.word(100 + index).load(SeqCst)));
    until("every thread lives", || known().all(|life| life != Life::NOBODY));
    assert_eq!(known().collect::<HashSet<_>>().len(), 4 * EACH, "all different");
    assert!(known().all(|life| world.kernel.alive(life)));
    change(world.word(0), 1);
    processes.into_iter().for_each(Process::join);
    assert!(known().all(|life| !world.kernel.alive(life)), "all ended");
}

#[test]
fn test_slot_of_a_dead_thread_is_reused_under_another_id() {
    const SLOT_MASK: u32 = 0x7fff;
    let world = World::new();
    let mut first = HashMap::new();
    let mut reused = 0;
    for _ in 0..2 * CHUNK {
        let life = generation(&world, 1)[0];
        if let Some(old) = first.insert(life.0 & SLOT_MASK, life) {
            assert_ne!(old, life);
            reused += 1;
        }
    }
    assert!(reused >= CHUNK, "slots go round, oldest first: {reused} of {} were reused", 2 * CHUNK);
    let old = *first.values().next().expect("some");
    let holding = Process::start(|| {
        world.announce();
        crate::process::stay();
    });
    let new = world.announced().thread;
    assert!(world.kernel.alive(new) && !world.kernel.alive(old));
    holding.kill();
}

/// Nobody sleeps on the next life of a slot.
#[test]
fn test_watcher_of_a_thread_is_told_though_its_process_lives_on() {
    let world = World::new();
    let process = Process::start(|| {
        world.kernel.me().expect("a place in the table");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                world.announce();
                until("the test says go", || world.word(9).load(SeqCst) == 1);
            });
        });
        until("the test says end", || world.word(9).load(SeqCst) == 2);
    });
    let me = world.announced();
    let watcher = world.watcher(me.thread, OFF, 0);
    world.word(9).store(1, SeqCst);
    world.until_told(0);
    watcher.join();
    assert!(world.kernel.alive(me.process) && !world.kernel.alive(me.thread));
    world.word(9).store(2, SeqCst);
    process.join();
}

/// Who watches a process sleeps on a thread of it; when that thread ends it finds another.
#[test]
fn test_watcher_of_a_process_outlasts_the_end_of_its_threads() {
    let world = World::new();
    let process = Process::start(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                world.announce();
                until("the test says go", || world.word(9).load(SeqCst) == 1);
            });
        });
        world.kernel.me().expect("a place in the table");
        world.word(8).store(1, SeqCst);
        crate::process::stay();
    });
    let me = world.announced();
    let watcher = world.watcher(me.process, OFF, 0);
    world.word(9).store(1, SeqCst);
    until("another thread of it has a life", || world.word(8).load(SeqCst) == 1);
    until("the watcher sleeps again", || watcher.is_parked());
    assert_eq!(world.word(0).load(SeqCst), crate::world::WATCHING);
    process.kill();
    world.until_told(0);
    watcher.join();
}
