//! The doorbell, with one line to spoil.

use underpass_core::kernel::Watch;
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Release};

use super::*;

/// The doorbell with one line to spoil.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The client has no fence between its post and its look at the bell.
    NoClientFence,
    /// The server has none between its word at the bell and its look at the posts, and no exchange.
    NoServerFence,
    /// The server looks at the posts before it announces itself.
    LooksTooEarly,
    /// Rings the bell without a change of its word.
    UnchangedWord,
    /// The post does not publish the question.
    RelaxedPost,
}

struct Bell {
    doorbell: AtomicU32,
    post: AtomicU32,
    baton: AtomicU32,
    question: Blocks,
}

fn post(bell: &Bell, kernel: &dyn Kernel, mistake: Mistake) {
    bell.question.write(0, &[1]);
    bell.post.store(1, if mistake == Mistake::RelaxedPost { Relaxed } else { Release });
    if mistake != Mistake::NoClientFence {
        fence(SeqCst);
    }
    if bell.doorbell.load(Relaxed) & SLEEPERS != 0 {
        if mistake != Mistake::UnchangedWord {
            bell.doorbell.fetch_and(!SLEEPERS, AcqRel);
        }
        // Without a change of the word this can come between the server's look and its sleep.
        kernel.wake(&bell.doorbell, 1);
    }
}

fn receive(bell: &Bell, kernel: &dyn Kernel, mistake: Mistake) {
    let take = || bell.post.load(Relaxed) == 1 && bell.post.compare_exchange(1, 0, Acquire, Relaxed).is_ok();
    loop {
        let early = mistake == Mistake::LooksTooEarly && take();
        if mistake == Mistake::NoServerFence {
            bell.doorbell.store(SLEEPERS, Release);
        } else {
            bell.doorbell.fetch_or(SLEEPERS, SeqCst);
            fence(SeqCst);
        }
        if early || mistake != Mistake::LooksTooEarly && take() {
            break;
        }
        let mut watch = Watch::new();
        watch.word(&bell.doorbell, SLEEPERS);
        kernel.park(&watch, &[&bell.baton], None);
    }
    let mut question = [0];
    bell.question.read(0, &mut question);
    assert_eq!(question, [1]);
}

fn program(mistake: Mistake) {
    explore(move || {
        let zero = || AtomicU32::new(0);
        let bell = Bell { doorbell: zero(), post: zero(), baton: zero(), question: Blocks::own(1, 1) };
        let (world, bell) = (World::new(), Arc::new(bell));
        let client = world.spawn(1, {
            let bell = bell.clone();
            move |kernel| post(&bell, kernel, mistake)
        });
        world.run(SERVER, |kernel| receive(&bell, kernel, mistake));
        client.join();
    });
}

#[test]
fn test_without_a_mistake() {
    program(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_client_fence() {
    program(Mistake::NoClientFence);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_server_fence() {
    program(Mistake::NoServerFence);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_look_too_early() {
    program(Mistake::LooksTooEarly);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_unchanged_word() {
    program(Mistake::UnchangedWord);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_relaxed_post() {
    program(Mistake::RelaxedPost);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_unwatched_server() {
    explore(|| {
        let (world, port) = (World::mortal(), Port::new(1));
        let server = spawn(&world, SERVER, Dies::Never, &port, |kernel, port| {
            sure(port.receive(kernel));
            kernel.die();
        });
        world.run(1, |kernel| {
            let stack = &port.stacks[0];
            let number = stack.post(Life(1), &[1], CALL);
            fence(SeqCst);
            active::show(&port.words, 0);
            doorbell::ring_after_fence(kernel, &port.words);
            while !stack.replied(number) && kernel.alive(Life(SERVER)) {
                let mut watch = Watch::new();
                watch.word(&stack.reply.word, stack.announce());
                kernel.park(&watch, &[], None);
            }
        });
        assert_eq!(server.end(), None::<()>);
    });
}
