//! Calls whose caller does something else meanwhile: the A-stack and its claims, under the loops that `posted.rs` runs over them.

use underpass_core::kernel::Watch;
use underpass_core::many::Ready;
use underpass_core::port::{ABANDONED, Claims, FREE, STACKS};
use underpass_core::wait::Sleepers;

use super::*;
use crate::many::{part, watched};

/// One line that is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Looks for the reply, and says then that it sleeps.
    LooksTooEarly,
    /// Does not watch the server's life.
    UnwatchedServer,
    /// Who wants an A-stack is not counted.
    Uncounted,
    /// Who gives up a call that the server has taken leaves its A-stack to the next.
    LeavesWhatIsTaken,
}

/// `Client`, with one A-stack.
struct Caller {
    port: Arc<Port>,
    claims: Arc<Claims>,
    mistake: Mistake,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a caller")
    }
}

/// The server's process.
const PROCESS: Life = Life(SERVER | 1 << 31);

impl Caller {
    fn stack(&self) -> &Stack {
        &self.port.stacks[0]
    }

    fn stacks(&self) -> &[Stack; STACKS] {
        self.port.stacks.first_chunk().expect("there are as many")
    }

    fn is_gone(&self, kernel: &dyn Kernel) -> bool {
        self.port.closed() || !kernel.alive(PROCESS)
    }

    fn died(phase: Phase) -> Error {
        Error::PeerDied { pid: SERVER, phase }
    }

    /// `Client::post`.
    fn post(&self, kernel: &dyn Kernel, question: u8) -> Result<u32> {
        let check = || if self.is_gone(kernel) { Err(Self::died(Phase::Send)) } else { Ok(()) };
        let claimed = self.claims.claim(kernel, self.stacks(), PROCESS, Deadline::NoWait, check);
        claimed.map_err(|error| if matches!(error, Error::TimedOut(_)) { Error::WouldBlock } else { error })?;
        let number = self.stack().post(sure(kernel.me()).thread, &[question], CALL);
        fence(SeqCst);
        active::show(&self.port.words, 0);
        doorbell::ring_after_fence(kernel, &self.port.words);
        Ok(number)
    }

    /// `Client::has_ended`.
    fn has_ended<'a>(&'a self, kernel: &dyn Kernel, number: u32, watch: Option<&mut Watch<'a>>) -> bool {
        let stack = self.stack();
        let early = self.mistake == Mistake::LooksTooEarly && stack.replied(number);
        if let Some(watch) = watch {
            watch.word(&stack.reply.word, stack.announce());
            if self.mistake != Mistake::UnwatchedServer {
                watch.life(PROCESS);
            }
        }
        if self.mistake == Mistake::LooksTooEarly {
            return early;
        }
        stack.replied(number) || !kernel.alive(PROCESS) || self.port.closed() && stack.is_posted()
    }

    /// `Client::collect`.
    fn collect(&self, kernel: &dyn Kernel, number: u32) -> Result<u8> {
        let stack = self.stack();
        let closed = self.port.closed() && stack.cancel(number);
        let gone = closed || !kernel.alive(PROCESS);
        if stack.replied(number) {
            let mut answer = [0];
            let ended = stack.reply_length(1).map(|length| stack.answered.read(0, &mut answer[..length]));
            self.claims.unclaim(kernel, 0, FREE);
            return match ended {
                Ok(()) => Ok(answer[0]),
                Err(End::Shut) => Err(Self::died(Phase::Send)),
                Err(_) => Err(Error::Aborted),
            };
        }
        if !gone {
            return Err(Error::WouldBlock);
        }
        Err(Self::died(self.give_up(kernel, number)))
    }

    /// `Client::give_up`.
    fn give_up(&self, kernel: &dyn Kernel, number: u32) -> Phase {
        let cancelled = self.stack().cancel(number);
        let free = cancelled || self.mistake == Mistake::LeavesWhatIsTaken;
        self.claims.unclaim(kernel, 0, if free { FREE } else { ABANDONED });
        if cancelled { Phase::Send } else { Phase::Receive }
    }

    /// `Client::has_room`.
    fn has_room<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> bool {
        if let Some(watch) = watch {
            self.claims.announce(self.stacks(), PROCESS, watch);
        }
        self.claims.has_room(self.stacks()) || self.is_gone(kernel)
    }
}

/// What is waited for: the end of the call of that number, or an A-stack.
#[derive(Debug)]
struct Awaited {
    caller: Arc<Caller>,
    number: Option<u32>,
}

impl Ready for Awaited {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.caller.port.words
    }

    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        Ok(match self.number {
            Some(number) => self.caller.has_ended(kernel, number, watch),
            None => self.caller.has_room(kernel, watch),
        })
    }
}

/// Waits for it beside nothing else, as thread `life` of the client.
fn wait(world: &World, kernel: &ThreadKernel, caller: &Arc<Caller>, number: Option<u32>) {
    crate::many::look_on(world, kernel, &Awaited { caller: caller.clone(), number });
}

/// Posts a call once there is an A-stack, and collects its answer.
fn call(world: &World, kernel: &ThreadKernel, caller: &Arc<Caller>, question: u8) -> Result<u8> {
    let number = post(world, kernel, caller, question)?;
    loop {
        wait(world, kernel, caller, Some(number));
        match caller.collect(kernel, number) {
            // A server that closes has taken it at this instant, and answers it.
            Err(Error::WouldBlock) => {}
            other => return other,
        }
    }
}

fn post(world: &World, kernel: &ThreadKernel, caller: &Arc<Caller>, question: u8) -> Result<u32> {
    loop {
        match caller.post(kernel, question) {
            Err(Error::WouldBlock) => {}
            other => return other,
        }
        let counted = caller.mistake != Mistake::Uncounted;
        if counted {
            caller.claims.enter();
        }
        wait(world, kernel, caller, None);
        if counted {
            caller.claims.leave();
        }
    }
}

fn scene(immortal: bool, mistake: Mistake) -> (Arc<World>, Arc<Caller>) {
    let (port, claims) = (Port::new(STACKS), Arc::new(Claims::new()));
    let replies = port.stacks.iter().map(|stack| part(std::slice::from_ref(&*stack.reply)));
    let words = replies.chain([part(std::slice::from_ref(&*claims))]).collect();
    (World::of(immortal, watched(words)), Arc::new(Caller { port, claims, mistake }))
}

/// A thread of the client.
fn client<T: 'static>(
    world: &Arc<World>,
    life: u32,
    caller: &Arc<Caller>,
    run: impl FnOnce(&World, &ThreadKernel, &Arc<Caller>) -> T + 'static,
) -> Running<T> {
    let (of, caller) = (world.clone(), caller.clone());
    world.spawn(life, move |kernel| run(&of, kernel, &caller))
}

#[test]
fn test_a_posted_call_is_answered() {
    explore(move || {
        let (world, caller) = scene(true, Mistake::None);
        let client = client(&world, 1, &caller, |world, kernel, caller| call(world, kernel, caller, 10));
        world.run(SERVER, |kernel| sure(caller.port.serve(kernel)));
        assert_eq!(client.join(), Ok(11));
    });
}

/// One that sleeps on the words alone, and has no bell.
fn is_answered_without_a_bell(mistake: Mistake) {
    explore(move || {
        let (world, caller) = scene(true, mistake);
        let client = client(&world, 1, &caller, |_, kernel, caller| {
            let number = sure(caller.post(kernel, 10));
            loop {
                let mut watch = Watch::new();
                if caller.has_ended(kernel, number, Some(&mut watch)) {
                    return caller.collect(kernel, number);
                }
                kernel.park(&watch, &[], None);
            }
        });
        world.run(SERVER, |kernel| sure(caller.port.serve(kernel)));
        assert_eq!(client.join(), Ok(11));
    });
}

#[test]
fn test_who_has_no_bell_is_answered() {
    is_answered_without_a_bell(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_looks_before_it_announces() {
    is_answered_without_a_bell(Mistake::LooksTooEarly);
}

/// Two threads want the only A-stack.
fn two_call(mistake: Mistake) {
    explore_long(move || {
        let (world, caller) = scene(true, mistake);
        let clients = [1, 2].map(|life| {
            client(&world, life, &caller, move |world, kernel, caller| call(world, kernel, caller, 10 * life as u8))
        });
        world.run(SERVER, |kernel| {
            sure(caller.port.serve(kernel));
            sure(caller.port.serve(kernel));
        });
        assert_eq!(join(clients), [Ok(11), Ok(21)]);
    });
}

#[test]
fn test_who_finds_no_room_is_told_of_some() {
    two_call(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_is_not_counted() {
    two_call(Mistake::Uncounted);
}

/// A call is given up, before or after the server has taken it; the next has the A-stack once that is settled.
fn is_given_up(mistake: Mistake) {
    explore_long(move || {
        let (world, caller) = scene(true, mistake);
        let client = client(&world, 1, &caller, |world, kernel, caller| {
            let number = sure(caller.post(kernel, 10));
            let reached = caller.give_up(kernel, number);
            (reached, call(world, kernel, caller, 20))
        });
        let served = world.run(SERVER, |kernel| {
            let mut served = Vec::new();
            while served.last() != Some(&20) {
                let (seat, taken) = sure(caller.port.receive(kernel));
                let (stack, mut question) = (&caller.port.stacks[seat], [0]);
                stack.asked.read(0, &mut question[..taken.length]);
                stack.answer(kernel, taken.number, &[question[0] + 1]);
                served.push(question[0]);
            }
            served
        });
        let (reached, answer) = client.join();
        assert_eq!(answer, Ok(21));
        assert_eq!(reached == Phase::Receive, served == [10, 20]);
    });
}

#[test]
fn test_a_call_that_was_given_up_had_its_effect_or_none() {
    is_given_up(Mistake::None);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_finds_who_leaves_what_is_taken() {
    is_given_up(Mistake::LeavesWhatIsTaken);
}

fn server_dies(mistake: Mistake) {
    explore(move || {
        let (world, caller) = scene(false, mistake);
        let server = spawn(&world, SERVER, Dies::Never, &caller.port, |kernel, port| {
            sure(port.receive(kernel));
            kernel.die();
        });
        let answer = world.run(1, |kernel| call(&world, kernel, &caller, 10));
        assert_eq!(answer, Err(Caller::died(Phase::Receive)));
        assert_eq!(server.end(), None::<()>);
    });
}

#[test]
fn test_server_dies_with_a_posted_call() {
    server_dies(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_who_does_not_watch_the_server() {
    server_dies(Mistake::UnwatchedServer);
}

#[test]
fn test_server_dies_between_the_answer_and_its_wake() {
    explore(|| {
        let (world, caller) = scene(false, Mistake::None);
        let server = spawn(&world, SERVER, Dies::BeforeWake, &caller.port, |kernel, port| sure(port.serve(kernel)));
        assert_eq!(world.run(1, |kernel| call(&world, kernel, &caller, 10)), Ok(11));
        server.end();
    });
}

#[test]
fn test_close_answers_or_refuses_a_posted_call() {
    explore_long(|| {
        let (world, caller) = scene(true, Mistake::None);
        let client = client(&world, 1, &caller, |world, kernel, caller| call(world, kernel, caller, 10));
        let server = spawn(&world, SERVER, Dies::Never, &caller.port, |kernel, port| port.serve(kernel));
        world.run(SERVER + 1, |kernel| caller.port.close(kernel));
        let (served, answer) = (server.join(), client.join());
        let refused = answer == Err(Caller::died(Phase::Send)) && served == Err(Error::Closed);
        assert!(refused || served.is_ok() && answer == Ok(11), "{served:?} {answer:?}");
    });
}
