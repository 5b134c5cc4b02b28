//! Lives across pid namespaces: the kernel's locks and marks mean the same on both sides, a pid does not.

use underpass_core::kernel::Kernel;
use underpass_shm::sync::Ordering::SeqCst;

use crate::process::{Process, stay, until};
use crate::world::{OFF, World};

/// Starts a process that is the first of a new pid namespace, under a parent that waits for it; and tells the pid that
/// the test's namespace has for it. None where that is not permitted.
fn in_another_namespace(world: &World, role: impl FnOnce()) -> Option<(Process, i32)> {
    const PID: usize = 20;
    const REFUSED: u32 = u32::MAX;
    world.word(PID).store(0, SeqCst);
    let outer = Process::start(|| {
        // SAFETY: S4, plain numbers.
        let refused = unsafe {
            libc::unshare(libc::CLONE_NEWPID) != 0 && libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) != 0
        };
        if refused {
            world.word(PID).store(REFUSED, SeqCst);
            return;
        }
        let inner = Process::start(|| {
            assert_eq!(std::process::id(), 1, "it is the first of its namespace");
            role();
        });
        world.word(PID).store(inner.pid.cast_unsigned(), SeqCst);
        until("the first of the namespace ends", || inner.has_ended());
    });
    until("the namespace is there or refused", || world.word(PID).load(SeqCst) != 0);
    let pid = world.word(PID).load(SeqCst);
    if pid == REFUSED {
        eprintln!("skipped: this user may not make a pid namespace");
        return None;
    }
    Some((outer, pid.cast_signed()))
}

#[test]
fn test_death_is_told_to_a_watcher_in_another_pid_namespace() {
    let world = World::new();
    for by_thread in [false, true] {
        let (process, me) = world.mortal(|| {});
        let life = if by_thread { me.thread } else { me.process };
        let Some((watcher, pid)) = in_another_namespace(&world, || world.watch(life, OFF, 0)) else { return };
        until("the watcher sleeps", || crate::process::is_parked(pid));
        process.kill();
        world.until_told(0);
        watcher.join();
    }
}

#[test]
fn test_death_in_another_pid_namespace_is_told() {
    let world = World::new();
    for by_thread in [false, true] {
        let started = in_another_namespace(&world, || {
            world.announce();
            stay();
        });
        let Some((_outer, pid)) = started else { return };
        let me = world.announced();
        assert_eq!(world.kernel.pid(me.process), 1, "its own namespace counts so");
        let watcher = world.watcher(if by_thread { me.thread } else { me.process }, OFF, 0);
        // SAFETY: S4, plain numbers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        world.until_told(0);
        watcher.join();
    }
}
