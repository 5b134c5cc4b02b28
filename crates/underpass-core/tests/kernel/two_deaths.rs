//! Two things in one instant: the one whom the kernel chose to tell dies, or is stopped, before it can act.
//!
//! The chosen sleeper shares a processor with the test and has the policy `SCHED_IDLE`: once woken it could run, but
//! does not while the test runs. Should it slip through, its report says so, and the scene is played again.

use underpass_core::kernel::{Kernel, Owed};
use underpass_core::wait::Sleepers;
use underpass_shm::clock;
use underpass_shm::life::{Life, Me};
use underpass_shm::sync::Ordering::{AcqRel, SeqCst};

use crate::process::{PATIENCE, Process, affinity, pin, state, until};
use crate::world::{DEFAULT, OFF, WATCHING, World};

const SCENES: u32 = 50;

/// Keeps a woken process from acting, while this lives.
struct Starved {
    cpus: Vec<usize>,
}

impl Starved {
    fn new(victim: &Process) -> Self {
        let cpus = affinity(0);
        pin(0, &cpus[..1]);
        pin(victim.pid, &cpus[..1]);
        // SAFETY: S4, the kernel reads one small structure.
        unsafe {
            let parameters: libc::sched_param = std::mem::zeroed();
            assert_eq!(libc::sched_setscheduler(victim.pid, libc::SCHED_IDLE, &raw const parameters), 0);
        }
        Self { cpus }
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        pin(0, &self.cpus);
    }
}

/// Sends `signal` between the wake of the victim by `trigger` and its first instruction.
fn strike(victim: &Process, signal: i32, trigger: impl FnOnce()) {
    let _starved = Starved::new(victim);
    trigger();
    // Without a pause, which would let the victim run.
    let end = clock::monotonic() + PATIENCE;
    while state(victim.pid) == 'S' {
        assert!(clock::monotonic() < end, "nobody woke the chosen sleeper");
    }
    victim.signal(signal);
}

/// Plays a scene until the victim was struck before it acted.
fn play(mut scene: impl FnMut() -> bool) {
    assert!((0..SCENES).any(|_| scene()), "the chosen sleeper acted in every one of {SCENES} scenes");
}

/// Three watch a life of a process that is killed, and the one that the kernel chose to tell is killed before it can act.
fn kill_with_the_chosen_watcher(watched: fn(&Me) -> Life) {
    let world = World::new();
    play(|| {
        let (process, me) = world.mortal(|| {});
        let life = watched(&me);
        let chosen = world.watcher(life, OFF, 0);
        let others = [world.watcher(life, OFF, 1), world.watcher(life, OFF, 2)];
        strike(&chosen, libc::SIGKILL, || process.signal(libc::SIGKILL));
        process.kill();
        until("the chosen watcher has ended", || chosen.has_ended());
        (1..=2).for_each(|report| world.until_told(report));
        others.into_iter().for_each(Process::join);
        world.word(0).load(SeqCst) == WATCHING
    });
}

#[test]
fn test_two_deaths_the_chosen_watcher_is_killed_and_the_others_are_told() {
    kill_with_the_chosen_watcher(|me| me.thread);
}

/// By the process's life, as a client watches its server.
#[test]
fn test_two_deaths_of_a_process_and_its_chosen_watcher() {
    kill_with_the_chosen_watcher(|me| me.process);
}

#[test]
fn test_two_deaths_without_a_pause_between_them_tell_the_third() {
    let world = World::new();
    for _ in 0..50 {
        let (process, me) = world.mortal(|| {});
        let first = world.watcher(me.process, OFF, 0);
        let second = world.watcher(me.process, OFF, 1);
        process.signal(libc::SIGKILL);
        first.signal(libc::SIGKILL);
        world.until_told(1);
        second.join();
    }
}

/// The kernel told a process that is stopped, and tells nobody else: the others look for themselves, after a second.
#[test]
fn test_death_and_stop_of_the_chosen_watcher_is_found_by_the_recheck() {
    let world = World::new();
    play(|| {
        let (process, me) = world.mortal(|| {});
        let chosen = world.watcher(me.thread, OFF, 0);
        let others = [1, 2].map(|report| {
            Process::start(|| {
                let start = world.kernel.now();
                world.watch(me.thread, DEFAULT, report);
                let waited = world.kernel.now() - start;
                world.word(report + 10).store(u32::from(waited >= DEFAULT), SeqCst);
            })
        });
        until("the others sleep", || others.iter().all(Process::is_parked));
        strike(&chosen, libc::SIGSTOP, || process.signal(libc::SIGKILL));
        process.kill();
        until("the chosen watcher is stopped", || matches!(state(chosen.pid), 'T' | 'Z'));
        // Stopped on its way out of the sleep, before its first instruction.
        let caught = chosen.is_parked();
        (1..=2).for_each(|report| world.until_told(report));
        others.into_iter().for_each(Process::join);
        chosen.signal(libc::SIGCONT);
        world.until_told(0);
        chosen.join();
        let by_recheck = [11, 12].iter().any(|report| world.word(*report).load(SeqCst) == 1);
        assert!(!caught || by_recheck, "nobody can have told them before the second was over");
        caught
    });
}

/// A stop ends the kernel's sleep: who is stopped *before* the death is not the one that the kernel chooses.
#[test]
fn test_watcher_stopped_before_the_death_is_passed_over() {
    let world = World::new();
    let (process, me) = world.mortal(|| {});
    let stopped = world.watcher(me.thread, OFF, 0);
    let other = world.watcher(me.thread, OFF, 1);
    stopped.signal(libc::SIGSTOP);
    until("the first watcher is stopped", || state(stopped.pid) == 'T');
    process.kill();
    world.until_told(1);
    other.join();
    assert_eq!(world.word(0).load(SeqCst), WATCHING);
    stopped.signal(libc::SIGCONT);
    world.until_told(0);
    stopped.join();
}

#[test]
fn test_woken_sleeper_killed_before_its_first_instruction_passes_the_wake_on() {
    let world = World::new();
    play(|| {
        world.word(0).store(0, SeqCst);
        let chosen = world.taker(|| world.word(0).store(1, SeqCst));
        let next = world.taker(|| {});
        strike(&chosen, libc::SIGKILL, || {
            let _owed = Owed::name(world.kernel, world.baton());
            world.units().swap(1, AcqRel);
            world.kernel.wake(world.units(), 1);
        });
        until("the chosen taker has ended", || chosen.has_ended());
        if world.word(0).load(SeqCst) == 1 {
            // It slipped through; whether it took the unit or not, the next one goes on now.
            world.units().store(1, SeqCst);
            world.kernel.wake(world.units(), 1);
        }
        next.join();
        world.units().store(0, SeqCst);
        world.word(0).load(SeqCst) == 0
    });
}
