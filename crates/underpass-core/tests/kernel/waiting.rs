//! The one wait: never early, never broken off by a signal, without a helper and without a processor while asleep.

use std::time::Duration;

use underpass_core::error::Phase;
use underpass_core::kernel::Kernel;
use underpass_core::linux;
use underpass_core::wait::Sleepers;
use underpass_core::{Deadline, Error};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Relaxed, SeqCst};

use crate::process::{Process, until};
use crate::world::{OFF, World};

fn expires_not_early(world: &World, seconds: f64) {
    let start = world.kernel.now();
    let result = world.take(Deadline::after(start, seconds), || {});
    let waited = world.kernel.now() - start;
    assert_eq!(result, Err(Error::TimedOut(Phase::Wait)));
    assert!(Duration::from_nanos(waited) >= Duration::from_secs_f64(seconds), "{waited} ns of {seconds} s");
}

#[test]
fn test_timeout_is_never_early() {
    let world = World::new();
    for seconds in [0.0, 1e-9, 1e-6, 3e-6, 1e-5, 1e-4, 1e-3, 0.0123] {
        for _ in 0..20 {
            expires_not_early(&world, seconds);
        }
    }
}

#[test]
fn test_timeout_longer_than_the_recheck_is_never_early() {
    let world = World::new();
    Process::start(|| {
        linux::set_recheck(1_000_000);
        expires_not_early(&world, 0.05);
    })
    .join();
}

#[test]
fn test_wakes_for_others_do_not_end_the_wait_early_nor_prolong_it() {
    let world = World::new();
    let sleeper = Process::start(|| {
        linux::set_recheck(OFF);
        expires_not_early(&world, 0.1);
    });
    until("the sleeper gives up", || {
        world.kernel.wake(world.units(), 1);
        world.kernel.wake(world.baton(), 1);
        sleeper.has_ended()
    });
    sleeper.join();
}

#[test]
fn test_no_wait_takes_what_is_there_and_never_sleeps() {
    let world = World::new();
    assert_eq!(world.take(Deadline::NoWait, || panic!("slept")), Err(Error::WouldBlock));
    world.units().store(1, SeqCst);
    assert_eq!(world.take(Deadline::NoWait, || panic!("slept")), Ok(()));
    world.units().store(1, SeqCst);
    assert_eq!(world.take(Deadline::At(0), || panic!("slept")), Ok(()), "a deadline in the past still tries once");
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_signal(_signal: i32) {
    HANDLED.fetch_add(1, Relaxed);
}

fn handle_signals(flags: i32) {
    // SAFETY: S4, the kernel reads the structure; the handler touches an atomic only.
    let code = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count_signal as extern "C" fn(i32) as usize;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut())
    };
    assert_eq!(code, 0);
}

/// Interrupted again and again, it ends with the time that was left: a wait that started anew would never end.
#[test]
fn test_signal_whose_handler_returns_does_not_end_the_wait() {
    let world = World::new();
    for flags in [0, libc::SA_RESTART] {
        let sleeper = Process::start(|| {
            linux::set_recheck(OFF);
            handle_signals(flags);
            world.word(0).store(1, SeqCst);
            expires_not_early(&world, 0.2);
            assert!(HANDLED.load(Relaxed) > 0, "no signal was handled");
        });
        until("its handler is set", || world.word(0).swap(0, SeqCst) == 1);
        until("the sleeper gives up", || {
            sleeper.signal(libc::SIGUSR1);
            sleeper.has_ended()
        });
        sleeper.join();
    }
}

#[test]
fn test_signal_does_not_lose_the_wake() {
    let world = World::new();
    let sleeper = Process::start(|| {
        linux::set_recheck(OFF);
        handle_signals(0);
        world.word(0).store(1, SeqCst);
        world.take(Deadline::Never, || {}).expect("the unit comes");
    });
    until("its handler is set", || world.word(0).load(SeqCst) == 1);
    until("the sleeper sleeps", || sleeper.is_parked());
    sleeper.signal(libc::SIGUSR1);
    world.units().swap(1, AcqRel);
    world.kernel.wake(world.units(), 1);
    sleeper.join();
}

/// CPU time of the calling process, in nanoseconds.
fn cpu_time() -> i64 {
    // SAFETY: S4, the kernel writes the structure it is given.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        time
    };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[test]
fn test_sleeper_uses_no_processor_and_no_helper_thread() {
    let world = World::new();
    let (process, _) = world.mortal(|| {});
    Process::start(|| {
        let before = cpu_time();
        expires_not_early(&world, 1.2);
        let used = cpu_time() - before;
        assert!(used < 20_000_000, "asleep for 1.2 s it used {used} ns");
        let threads = std::fs::read_dir("/proc/self/task").expect("proc").count();
        assert_eq!(threads, 1, "it started as one thread");
    })
    .join();
    drop(process);
}
