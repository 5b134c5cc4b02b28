//! The bit of a seat, the end of a channel, and the bits of `notify`; each with one line to spoil.

use underpass_shm::layout::port::{REVOKED, UNMET};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Release};

use super::*;

/// One line that is missing.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The client has no fence between its post and its look at the bit, or at its standing.
    NoFence,
    /// The server does not look once more after it has cleared the bit.
    NoSecondLook,
    /// The server has no fence between the clearing, or the new standing, and its look.
    NoServerFence,
    /// The client looks at the doorbell before it sets the bit.
    RingsTooEarly,
    /// Who takes a call after the clearing does not set the bit again.
    StaysHidden,
    /// A receiver that is woken for bits it does not want keeps the wake.
    KeepsTheWake,
}

fn post(port: &Port, kernel: &dyn Kernel, seat: usize, mistake: Mistake) -> u32 {
    let number = port.stacks[seat].post(Life(1), &[1], CALL);
    if mistake == Mistake::RingsTooEarly {
        doorbell::ring(kernel, &port.words);
    } else if mistake != Mistake::NoFence {
        fence(SeqCst);
    }
    active::show(&port.words, seat as u32);
    if mistake != Mistake::RingsTooEarly {
        doorbell::ring_after_fence(kernel, &port.words);
    }
    number
}

/// `Seats::take` for one seat.
fn take(port: &Port, kernel: &dyn Kernel, mistake: Mistake) -> Option<Taken> {
    let (words, stack) = (&port.words, &port.stacks[0]);
    if active::bits(words, 0) & 1 == 0 {
        return None;
    }
    if let Some(taken) = stack.take(1) {
        return Some(taken);
    }
    if mistake == Mistake::NoServerFence {
        words.active.words[0].fetch_and(!1, Relaxed);
    } else {
        active::hide(words, 0);
    }
    if mistake == Mistake::NoSecondLook {
        return None;
    }
    let taken = stack.take(1)?;
    if mistake != Mistake::StaysHidden {
        active::show(words, 0);
        doorbell::ring(kernel, words);
    }
    Some(taken)
}

fn receive(port: &Port, kernel: &dyn Kernel, mistake: Mistake) -> Taken {
    loop {
        let expected = doorbell::announce(&port.words);
        if let Some(taken) = take(port, kernel, mistake) {
            return taken;
        }
        let mut watch = underpass_core::kernel::Watch::new();
        watch.word(&port.words.doorbell, expected);
        kernel.park(&watch, &[&port.words.baton], None);
    }
}

/// One client, whose bit is set from an earlier call, posts; the server looks, clears, and goes to sleep.
fn bit(mistake: Mistake) {
    explore(move || {
        let (world, port) = (World::new(), Port::new(1));
        active::show(&port.words, 0);
        let client = spawn(&world, 1, Dies::Never, &port, move |kernel, port| post(port, kernel, 0, mistake));
        let taken = world.run(SERVER, |kernel| receive(&port, kernel, mistake));
        assert_eq!(client.join(), taken.number);
    });
}

#[test]
fn test_bit_without_a_mistake() {
    bit(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_bit_without_a_fence() {
    bit(Mistake::NoFence);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_bit_without_a_second_look() {
    bit(Mistake::NoSecondLook);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_bit_without_the_servers_fence() {
    bit(Mistake::NoServerFence);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_bit_set_after_the_look_at_the_doorbell() {
    bit(Mistake::RingsTooEarly);
}

/// Two A-stacks of one seat are posted to; one thread takes the first and works for ever, another sleeps.
fn two_stacks(mistake: Mistake) {
    explore(move || {
        let (world, port) = (World::new(), Port::new(2));
        active::show(&port.words, 0);
        let take = move |port: &Port, kernel: &dyn Kernel| {
            let look = || port.stacks.iter().find_map(|stack| stack.take(1));
            if active::bits(&port.words, 0) & 1 == 0 {
                return None;
            }
            if let Some(taken) = look() {
                return Some(taken);
            }
            active::hide(&port.words, 0);
            let taken = look()?;
            if mistake != Mistake::StaysHidden {
                active::show(&port.words, 0);
                doorbell::ring(kernel, &port.words);
            }
            Some(taken)
        };
        let servers = [SERVER, SERVER + 1].map(|life| {
            spawn(&world, life, Dies::Never, &port, move |kernel, port| {
                let mut slept = false;
                loop {
                    let expected = doorbell::announce(&port.words);
                    if take(port, kernel).is_some() {
                        if slept && port.stacks.iter().any(Stack::is_posted) {
                            doorbell::tell(kernel, &port.words, 1);
                        }
                        return;
                    }
                    let mut watch = underpass_core::kernel::Watch::new();
                    watch.word(&port.words.doorbell, expected);
                    kernel.park(&watch, &[&port.words.baton], None);
                    slept = true;
                }
            })
        });
        world.run(1, |kernel| {
            for stack in &port.stacks {
                let _ = stack.post(Life(1), &[1], CALL);
                fence(SeqCst);
                active::show(&port.words, 0);
                doorbell::ring_after_fence(kernel, &port.words);
            }
        });
        join(servers);
    });
}

#[test]
fn test_two_stacks_of_a_seat_reach_two_threads() {
    two_stacks(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_two_stacks_of_a_seat_that_stays_hidden() {
    two_stacks(Mistake::StaysHidden);
}

/// A channel is revoked while its client posts: the call ends, or was never seen and is taken back.
fn end(mistake: Mistake) {
    explore(move || {
        let (world, port) = (World::new(), Port::new(1));
        let client = spawn(&world, 1, Dies::Never, &port, move |kernel, port| {
            let stack = &port.stacks[0];
            let number = stack.post(Life(1), &[1], CALL);
            if mistake != Mistake::NoFence {
                fence(SeqCst);
            }
            if stack.caller.standing.load(Acquire) != UNMET && stack.cancel(number) {
                return;
            }
            while !stack.replied(number) {
                let mut watch = underpass_core::kernel::Watch::new();
                watch.word(&stack.reply.word, stack.announce());
                if !stack.replied(number) {
                    kernel.park(&watch, &[], None);
                }
            }
            assert_eq!(stack.reply_length(1), Err(End::Cancelled));
        });
        world.run(SERVER, |kernel| {
            let stack = &port.stacks[0];
            stack.caller.standing.store(REVOKED, Relaxed);
            if mistake != Mistake::NoServerFence {
                fence(SeqCst);
            }
            if let Some(taken) = stack.take(1) {
                stack.fail(kernel, taken.number, End::Cancelled);
            }
        });
        client.join();
    });
}

#[test]
fn test_end_without_a_mistake() {
    end(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_end_without_the_clients_fence() {
    end(Mistake::NoFence);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_end_without_the_servers_fence() {
    end(Mistake::NoServerFence);
}

/// One thread wants calls, another bits; the first is woken for bits.
fn bits(mistake: Mistake) {
    explore_long(move || {
        let (world, port) = (World::new(), Port::new(1));
        let noticing = Arc::new(AtomicU32::new(0));
        let plain = spawn(&world, SERVER, Dies::Never, &port, {
            let noticing = noticing.clone();
            move |kernel, port| {
                let mut slept = false;
                loop {
                    let expected = doorbell::announce(&port.words);
                    if take(port, kernel, Mistake::None).is_some() {
                        return;
                    }
                    let pass = slept && mistake != Mistake::KeepsTheWake;
                    if pass && port.words.notified.load(Relaxed) != 0 && noticing.swap(0, AcqRel) != 0 {
                        kernel.wake(&port.words.doorbell, u32::MAX);
                    }
                    let mut watch = underpass_core::kernel::Watch::new();
                    watch.word(&port.words.doorbell, expected);
                    kernel.park(&watch, &[&port.words.baton], None);
                    slept = true;
                }
            }
        });
        let wants = spawn(&world, SERVER + 1, Dies::Never, &port, {
            let noticing = noticing.clone();
            move |kernel, port| loop {
                let expected = doorbell::announce(&port.words);
                if port.words.notified.swap(0, AcqRel) != 0 {
                    return;
                }
                noticing.store(1, Release);
                let mut watch = underpass_core::kernel::Watch::new();
                watch.word(&port.words.doorbell, expected);
                kernel.park(&watch, &[&port.words.baton], None);
            }
        });
        world.run(1, |kernel| {
            world.until_asleep(2);
            port.words.notified.fetch_or(1, AcqRel);
            doorbell::ring(kernel, &port.words);
        });
        wants.join();
        world.run(2, |kernel| {
            post(&port, kernel, 0, Mistake::None);
        });
        plain.join();
        assert_eq!(port.words.notified.load(Relaxed), 0);
    });
}

#[test]
fn test_bits_reach_who_wants_them() {
    bits(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_bits_kept_by_who_does_not_want_them() {
    bits(Mistake::KeepsTheWake);
}
