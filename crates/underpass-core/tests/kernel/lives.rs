//! The ends of processes, and that whoever watches is told by the kernel.

use underpass_core::kernel::Kernel;
use underpass_shm::life::{Life, Me};
use underpass_shm::sync::Ordering::SeqCst;

use crate::process::{Process, die, stay, until};
use crate::world::{DEFAULT, OFF, World};

const SLOT_MASK: u32 = 0x7fff;
/// Slots of processes in a table.
const PROCESSES: usize = 4096;
/// Processes that a test starts at one time.
const CROWD: usize = 64;

/// Two watchers of a process, by its own life and by its thread's, see it live and are told by the kernel when
/// `death` has happened.
fn is_told(world: &World, me: Me, death: impl FnOnce()) {
    let watchers = [world.watcher(me.process, OFF, 0), world.watcher(me.thread, OFF, 1)];
    assert!(world.kernel.alive(me.process) && world.kernel.alive(me.thread));
    death();
    for (report, watcher) in watchers.into_iter().enumerate() {
        world.until_told(report);
        watcher.join();
    }
    assert!(!world.kernel.alive(me.process) && !world.kernel.alive(me.thread));
}

/// Replaces the program of this process, from whatever thread calls it.
fn exec() -> ! {
    // SAFETY: S4, the strings and the array's end are static.
    unsafe { libc::execl(c"/bin/sleep".as_ptr(), c"sleep".as_ptr(), c"60".as_ptr(), std::ptr::null::<libc::c_char>()) };
    panic!("exec: {}", std::io::Error::last_os_error());
}

#[test]
fn test_sigkill_is_told_by_the_kernel() {
    let world = World::new();
    let (process, me) = world.mortal(|| {});
    is_told(&world, me, || process.kill());
}

#[test]
fn test_exit_is_told_by_the_kernel() {
    let world = World::new();
    let process = Process::start(|| {
        world.announce();
        until("the test says go", || world.word(9).load(SeqCst) == 1);
    });
    let me = world.announced();
    is_told(&world, me, || world.word(9).store(1, SeqCst));
    process.join();
}

#[test]
fn test_exec_from_the_leader_is_told_by_the_kernel() {
    let world = World::new();
    let (process, me) = world.mortal(|| {
        until("the test says go", || world.word(9).load(SeqCst) == 1);
        exec();
    });
    is_told(&world, me, || world.word(9).store(1, SeqCst));
    assert!(!process.has_ended(), "it runs another program under the same pid");
}

#[test]
fn test_exec_from_another_thread_ends_the_leaders_life_by_the_kernel() {
    let world = World::new();
    let (process, me) = world.mortal(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                until("the test says go", || world.word(9).load(SeqCst) == 1);
                exec();
            });
        });
    });
    is_told(&world, me, || world.word(9).store(1, SeqCst));
    assert!(!process.has_ended(), "it runs another program under the same pid");
}

/// The kernel leaves that thread's token unmarked for ever: its process's lock tells, to whoever looks again.
#[test]
fn test_exec_from_a_thread_that_is_not_the_leader_is_found_by_the_recheck() {
    let world = World::new();
    let process = Process::start(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                world.announce();
                until("the test says go", || world.word(9).load(SeqCst) == 1);
                exec();
            });
        });
    });
    let me = world.announced();
    let watchers = [world.watcher(me.process, DEFAULT, 0), world.watcher(me.thread, DEFAULT, 1)];
    world.word(9).store(1, SeqCst);
    for (report, watcher) in watchers.into_iter().enumerate() {
        world.until_told(report);
        watcher.join();
    }
    assert!(!process.has_ended(), "it runs another program under the same pid");
}

#[test]
fn test_end_of_a_double_fork_is_told_by_the_kernel() {
    let world = World::new();
    Process::start(|| {
        let daemon = Process::start(|| {
            // SAFETY: S4, plain numbers: the daemon is to outlive the process that forked it.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
            world.word(8).store(1, SeqCst);
            until("its parent has gone", || world.word(7).load(SeqCst) == 1);
            world.announce();
            until("the test says go", || world.word(9).load(SeqCst) == 1);
            die();
        });
        until("the daemon is on its own", || world.word(8).load(SeqCst) == 1);
        std::mem::forget(daemon);
    })
    .join();
    world.word(7).store(1, SeqCst);
    let me = world.announced();
    is_told(&world, me, || world.word(9).store(1, SeqCst));
}

#[test]
fn test_death_is_told_while_a_forked_child_lives_on() {
    let world = World::new();
    let (process, me) = world.mortal(|| {
        let child = Process::start(|| {
            // SAFETY: S4, plain numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
            world.word(8).store(std::process::id(), SeqCst);
            until("the test says go", || world.word(9).load(SeqCst) == 1);
        });
        std::mem::forget(child);
    });
    until("the child runs", || world.word(8).load(SeqCst) != 0);
    is_told(&world, me, || process.kill());
    let child = world.word(8).load(SeqCst).cast_signed();
    assert!(matches!(crate::process::state(child), 'S' | 'R'), "the child was to live on");
    world.word(9).store(1, SeqCst);
}

#[test]
fn test_forked_child_has_lives_of_its_own() {
    let world = World::new();
    let (process, parent) = world.mortal(|| {
        let child = Process::start(|| {
            until("the test says go", || world.word(9).load(SeqCst) == 1);
            world.announce();
            stay();
        });
        std::mem::forget(child);
    });
    world.word(9).store(1, SeqCst);
    let child = world.announced();
    assert_ne!(parent.process, child.process);
    assert_ne!(parent.thread, child.thread);
    assert!(world.kernel.alive(parent.process) && world.kernel.alive(child.process));
    process.kill();
    until("the child follows by its parent-death signal", || !world.kernel.alive(child.process));
}

/// A token is marked first, the process's lock goes when its memory has been torn down: who looks in between is told too.
#[test]
fn test_death_of_a_large_process_is_told_by_the_kernel() {
    const LARGE: usize = 256 << 20;
    let world = World::new();
    for _ in 0..5 {
        let (process, me) = world.mortal(|| {
            let mut memory = vec![0_u8; LARGE];
            memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            std::mem::forget(std::hint::black_box(memory));
            world.word(9).store(1, SeqCst);
        });
        until("its memory is there", || world.word(9).swap(0, SeqCst) == 1);
        is_told(&world, me, || process.kill());
    }
}

/// The processes that follow each other in one slot are different lives.
#[test]
fn test_slot_of_a_dead_process_is_reused_under_another_id() {
    let world = World::new();
    let (first, old) = world.mortal(|| {});
    first.kill();
    let successor = (0..=PROCESSES / CROWD).find_map(|_| {
        let claim = |index| {
            let world = &world;
            Process::start(move || world.word(index).store(world.kernel.me().expect("a place").process.0, SeqCst))
        };
        (0..CROWD).map(claim).collect::<Vec<_>>().into_iter().for_each(Process::join);
        (0..CROWD).map(|index| Life(world.word(index).load(SeqCst))).find(|new| slot(*new) == slot(old.process))
    });
    let successor = successor.expect("the slots go round, oldest first");
    assert_ne!(successor, old.process);
    assert!(!world.kernel.alive(old.process) && !world.kernel.alive(successor));
}

fn slot(life: Life) -> u32 {
    life.0 & SLOT_MASK
}
