//! Ports: the A-stack and the doorbell, under the loops that `client.rs` and `server.rs` run over them.
//!
//! Sockets do not exist under loom, so clients are introduced beforehand; the loops here are theirs without that.

use std::sync::Arc;

use underpass_core::error::Phase;
use underpass_core::kernel::Kernel;
use underpass_core::port::{End, Stack, Taken, active, doorbell};
use underpass_core::wait::{Patience, Waiting, wait_until};
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::port::{CallerWords, PORT_CLOSED, PortWords, ReplyWords, RequestWords};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::sync::{
    Ordering::{Acquire, Relaxed, SeqCst},
    fence,
};

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, join, sure};

mod planted;
mod posted;
mod seats;

/// The server's life in every program.
const SERVER: u32 = 9;

/// A port, and one A-stack for each client, whose seat is its index.
struct Port {
    words: PortWords,
    stacks: Vec<Stack>,
}

/// What a caller may do with its number beside calling: nothing else differs between a call and a one-way message.
const CALL: bool = false;
const SEND: bool = true;

impl Port {
    fn new(clients: usize) -> Arc<Self> {
        let stack = || Stack {
            request: Placed::own(RequestWords::new()),
            reply: Placed::own(ReplyWords::new()),
            caller: Placed::own(CallerWords::new()),
            asked: Blocks::own(1, 1),
            answered: Blocks::own(1, 1),
        };
        Arc::new(Self { words: PortWords::new(), stacks: (0..clients).map(|_| stack()).collect() })
    }

    fn closed(&self) -> bool {
        self.words.state.load(Acquire) == PORT_CLOSED
    }

    /// `Client::call`.
    fn call(&self, kernel: &dyn Kernel, seat: usize, question: u8) -> Result<u8> {
        self.exchange(kernel, seat, question, CALL)
    }

    /// `Client::exchange`.
    fn exchange(&self, kernel: &dyn Kernel, seat: usize, question: u8, one_way: bool) -> Result<u8> {
        let stack = &self.stacks[seat];
        let number = stack.post(sure(kernel.me()).thread, &[question], one_way);
        fence(SeqCst);
        active::show(&self.words, seat as u32);
        doorbell::ring_after_fence(kernel, &self.words);
        let server = Life(SERVER | 1 << 31);
        let died = |phase| Error::PeerDied { pid: kernel.pid(server), phase };
        let waiting = Waiting {
            sleepers: None,
            deadline: Deadline::Never,
            patience: &Patience::new(),
            partner: 0,
            operation: Operation::Call,
        };
        let waited = wait_until(
            kernel,
            waiting,
            || stack.replied(number),
            |watch, slept| {
                if stack.replied(number) {
                    return Ok(Some(()));
                }
                let Some(watch) = watch else { return Ok(None) };
                watch.word(&stack.reply.word, stack.announce());
                watch.life(server);
                let gone = slept && !kernel.alive(server) || self.closed() && stack.cancel(number);
                if stack.replied(number) {
                    return Ok(Some(()));
                }
                if gone { Err(died(Phase::Receive)) } else { Ok(None) }
            },
        );
        if let Err(error) = waited {
            let cancelled = stack.cancel(number);
            return Err(match error {
                Error::PeerDied { .. } if cancelled => died(Phase::Send),
                other => other,
            });
        }
        let mut answer = [0];
        match stack.reply_length(1) {
            Ok(0) => {}
            Ok(_) => stack.answered.read(0, &mut answer),
            Err(End::Shut) => return Err(died(Phase::Send)),
            Err(_) => return Err(Error::Aborted),
        }
        Ok(answer[0])
    }

    /// `Server::receive`, without introductions.
    fn receive(&self, kernel: &dyn Kernel) -> Result<(usize, Taken)> {
        if let Some(call) = self.next(kernel)? {
            return Ok(call);
        }
        let words = &self.words;
        let waiting = Waiting {
            sleepers: Some(words),
            deadline: Deadline::Never,
            patience: &Patience::new(),
            partner: 0,
            operation: Operation::Receive,
        };
        wait_until(
            kernel,
            waiting,
            || false,
            |watch, slept| {
                if let Some(watch) = watch {
                    watch.word(&words.doorbell, doorbell::announce(words));
                }
                let call = self.next(kernel)?;
                if slept && call.is_some() && self.stacks.iter().any(Stack::is_posted) {
                    doorbell::tell(kernel, words, 1);
                }
                Ok(call)
            },
        )
    }

    fn next(&self, kernel: &dyn Kernel) -> Result<Option<(usize, Taken)>> {
        if self.words.state.load(Relaxed) == PORT_CLOSED {
            return Err(Error::Closed);
        }
        Ok(self.take(kernel))
    }

    /// `Seats::take`, of a server that has no patience with idle channels.
    fn take(&self, kernel: &dyn Kernel) -> Option<(usize, Taken)> {
        let bits = active::bits(&self.words, 0);
        for (seat, stack) in self.stacks.iter().enumerate().filter(|(seat, _)| bits & 1 << seat != 0) {
            if let Some(taken) = stack.take(1) {
                return Some((seat, taken));
            }
            active::hide(&self.words, seat as u32);
            if let Some(taken) = stack.take(1) {
                active::show(&self.words, seat as u32);
                doorbell::ring(kernel, &self.words);
                return Some((seat, taken));
            }
        }
        None
    }

    /// `Server::close`.
    fn close(&self, kernel: &dyn Kernel) {
        self.words.state.store(PORT_CLOSED, SeqCst);
        fence(SeqCst);
        for stack in &self.stacks {
            if let Some(taken) = stack.take(1) {
                stack.fail(kernel, taken.number, End::Shut);
            }
        }
        doorbell::tell(kernel, &self.words, u32::MAX);
    }

    /// Answers one call with the number after its own.
    fn serve(&self, kernel: &dyn Kernel) -> Result<()> {
        let (index, taken) = self.receive(kernel)?;
        let stack = &self.stacks[index];
        let mut question = [0];
        stack.asked.read(0, &mut question[..taken.length]);
        if taken.one_way {
            stack.acknowledge(kernel, taken.number);
        } else {
            stack.answer(kernel, taken.number, &[question[0] + 1]);
        }
        Ok(())
    }
}

fn spawn<T: 'static>(
    world: &Arc<World>,
    life: u32,
    dies: Dies,
    port: &Arc<Port>,
    run: impl FnOnce(&ThreadKernel, &Port) -> T + 'static,
) -> Running<T> {
    let port = port.clone();
    world.spawn_dying(life, dies, move |kernel| run(kernel, &port))
}

#[test]
fn test_calls_one_after_the_other() {
    explore(|| {
        let (world, port) = (World::new(), Port::new(1));
        let client = spawn(&world, 1, Dies::Never, &port, |kernel, port| {
            [10, 20].map(|question| port.call(kernel, 0, question))
        });
        world.run(SERVER, |kernel| {
            sure(port.serve(kernel));
            sure(port.serve(kernel));
        });
        assert_eq!(client.join(), [Ok(11), Ok(21)]);
    });
}

#[test]
fn test_two_clients_call_at_once() {
    explore(|| {
        let (world, port) = (World::new(), Port::new(2));
        let clients = [0, 1].map(|stack| {
            spawn(&world, stack + 1, Dies::Never, &port, move |kernel, port| port.call(kernel, stack as usize, 10))
        });
        world.run(SERVER, |kernel| {
            sure(port.serve(kernel));
            sure(port.serve(kernel));
        });
        assert_eq!(join(clients), [Ok(11), Ok(11)]);
    });
}

#[test]
fn test_sends_one_after_the_other_reuse_the_stack() {
    explore(|| {
        let (world, port) = (World::new(), Port::new(1));
        let client = spawn(&world, 1, Dies::Never, &port, |kernel, port| {
            [10, 20].map(|message| port.exchange(kernel, 0, message, SEND))
        });
        let received = world.run(SERVER, |kernel| {
            [(); 2].map(|()| {
                let (seat, taken) = sure(port.receive(kernel));
                let mut message = [0];
                port.stacks[seat].asked.read(0, &mut message[..taken.length]);
                port.stacks[seat].acknowledge(kernel, taken.number);
                message[0]
            })
        });
        assert_eq!(received, [10, 20]);
        assert_eq!(client.join(), [Ok(0), Ok(0)]);
    });
}

#[test]
fn test_two_threads_receive() {
    explore_long(|| {
        let (world, port) = (World::new(), Port::new(2));
        let servers = [SERVER, SERVER + 1]
            .map(|life| spawn(&world, life, Dies::Never, &port, |kernel, port| sure(port.serve(kernel))));
        let client = spawn(&world, 1, Dies::Never, &port, |kernel, port| port.call(kernel, 0, 10));
        assert_eq!(world.run(2, |kernel| port.call(kernel, 1, 20)), Ok(21));
        assert_eq!(client.join(), Ok(11));
        join(servers);
    });
}

#[test]
fn test_cancelled_or_taken_but_not_both() {
    explore(|| {
        let (world, port) = (World::new(), Port::new(1));
        let client = spawn(&world, 1, Dies::Never, &port, |kernel, port| {
            let stack = &port.stacks[0];
            let number = stack.post(Life(1), &[10], CALL);
            doorbell::ring(kernel, &port.words);
            stack.cancel(number)
        });
        let taken = world.run(SERVER, |kernel| {
            let taken = port.stacks[0].take(1);
            if let Some(taken) = taken {
                port.stacks[0].answer(kernel, taken.number, &[0]);
            }
            taken
        });
        let cancelled = client.join();
        assert!(!(cancelled && taken.is_some()));
        assert_eq!(port.stacks[0].is_posted(), !cancelled && taken.is_none());
    });
}

#[test]
fn test_close_answers_or_refuses_every_call() {
    explore(|| {
        let (world, port) = (World::new(), Port::new(1));
        let client = spawn(&world, 1, Dies::Never, &port, |kernel, port| port.call(kernel, 0, 10));
        let server = spawn(&world, SERVER, Dies::Never, &port, |kernel, port| port.serve(kernel));
        world.run(SERVER + 1, |kernel| port.close(kernel));
        let (served, answer) = (server.join(), client.join());
        let refused =
            answer == Err(Error::PeerDied { pid: SERVER, phase: Phase::Send }) && served == Err(Error::Closed);
        assert!(refused || (served.is_ok() && answer == Ok(11)), "{served:?} {answer:?}");
    });
}

#[test]
fn test_server_dies_with_a_call() {
    explore(|| {
        let (world, port) = (World::mortal(), Port::new(1));
        let server = spawn(&world, SERVER, Dies::Never, &port, |kernel, port| {
            sure(port.receive(kernel));
            kernel.die();
        });
        let died = Err(Error::PeerDied { pid: SERVER, phase: Phase::Receive });
        assert_eq!(world.run(1, |kernel| port.call(kernel, 0, 10)), died);
        assert_eq!(server.end(), None::<()>);
    });
}

#[test]
fn test_server_dies_between_the_reply_and_its_wake() {
    explore(|| {
        let (world, port) = (World::mortal(), Port::new(1));
        let server = spawn(&world, SERVER, Dies::BeforeWake, &port, |kernel, port| sure(port.serve(kernel)));
        assert_eq!(world.run(1, |kernel| port.call(kernel, 0, 10)), Ok(11));
        server.end();
    });
}

#[test]
fn test_client_dies_between_its_ring_and_the_wake() {
    explore(|| {
        let (world, port) = (World::mortal(), Port::new(1));
        let client = spawn(&world, 1, Dies::BeforeWake, &port, |kernel, port| port.call(kernel, 0, 10));
        world.run(SERVER, |kernel| sure(port.serve(kernel)));
        assert!(client.end().is_none_or(|answer| answer == Ok(11)));
    });
}

#[test]
fn test_woken_receiver_dies_before_it_looks() {
    explore(|| {
        let (world, port) = (World::mortal(), Port::new(1));
        // A thread of the server, which lives on.
        let dying = spawn(&world, 5, Dies::AfterPark, &port, |kernel, port| port.serve(kernel));
        let client = spawn(&world, 1, Dies::Never, &port, |kernel, port| {
            let answer = port.call(kernel, 0, 10);
            // For whoever is left.
            port.close(kernel);
            answer
        });
        let _ = world.run(SERVER, |kernel| port.serve(kernel));
        assert_eq!(client.join(), Ok(11));
        dying.end();
    });
}
