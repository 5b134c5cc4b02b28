//! Forks by whoever, at any instant: the list of spaces is never copied locked or half changed.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use underpass_shm::access::Access;
use underpass_shm::forks;
use underpass_shm::space::Space;

const FORKS: usize = 200;
/// Seconds after which a child that hangs is ended by the kernel.
const PATIENCE: u32 = 20;

#[test]
fn test_children_enter_spaces_whatever_threads_of_the_parent_do() {
    // As the module does when it is loaded: the first fork that it can see is one after this.
    forks::watch();
    let paths: Vec<_> =
        (0..4).map(|number| format!("/dev/shm/underpass-forks-{}-{number}", std::process::id()).into()).collect();
    let (stop, paths): (AtomicBool, &[std::path::PathBuf]) = (AtomicBool::new(false), &paths);
    let failed = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                for path in &paths[1..] {
                    Space::enter(path, Access::Mine(0o700)).and_then(|space| space.remove()).unwrap();
                }
            }
        });
        let ended = (0..FORKS).filter(|_| fork(|| Space::enter(&paths[0], Access::Mine(0o700)).is_ok())).count();
        stop.store(true, Relaxed);
        FORKS - ended
    });
    for path in paths {
        let _ = std::fs::remove_dir_all(path);
    }
    assert_eq!(failed, 0, "children that hung or failed");
}

/// Runs it in a forked child; true if it returned true there.
fn fork(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: S9, the child calls what this test is about, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(PATIENCE);
            libc::_exit(i32::from(!child()));
        }
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, 0) == pid && status == 0
    }
}
