//! Runs a process to one instruction of a call into a shared library, and holds or kills it there.
//!
//! The tests of death at every instruction talk to it: a line on standard input is a request, a line on standard output its
//! answer. The process is not its child, only its tracee.
//!
//! ```text
//! trace PID LOW HIGH HEAD     ready · then: traced N returned | traced N died     from the first instruction in LOW..HIGH
//! compare PID LOW HIGH HEAD   the same, looking at all that others see, after each instruction
//! effects                     effects K:call K:store K:atomic K:robust …   instructions of the trace that others can tell of
//! changes                     changes K …                                  those after which something was seen to have changed
//! step PID K                  ready · then: at ADDRESS same | at ADDRESS other | returned | died     after K of the trace's instructions
//! kill PID                    done                                         and has been waited for
//! signal PID NUMBER           done                                         let go, with that signal: SIGSTOP stops it there
//! go PID                      done                                         let go
//! ```
//! HEAD is the address of the process's robust list, as `get_robust_list` tells it.
//! After `ready` the process runs: then is the time to send it into its call.
#![forbid(unsafe_code)]

mod effect;
mod memory;
mod trace;
mod tracee;

use std::fmt::{Display, Write as _};
use std::io::{self, BufRead, Write};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use memory::Memory;
use trace::{Looking, Trace};
use tracee::{Reached, Tracee};

fn main() -> io::Result<()> {
    let mut session = Session { trace: Trace::default() };
    for line in io::stdin().lock().lines() {
        let answer = match session.obey(&line?) {
            Ok(answer) => answer,
            Err(Refusal::Nonsense(request)) => format!("error: {request:?} is no request"),
            Err(Refusal::System(error)) => format!("error: {error}"),
        };
        say(&answer)?;
    }
    Ok(())
}

fn say(answer: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}

enum Refusal {
    Nonsense(String),
    System(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// What was traced last: steps count along it.
struct Session {
    trace: Trace,
}

impl Session {
    fn obey(&mut self, request: &str) -> Result<String, Refusal> {
        let nonsense = || Refusal::Nonsense(request.to_owned());
        let mut words = request.split_ascii_whitespace();
        let verb = words.next().ok_or_else(nonsense)?;
        let numbers = words
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>()
            .map_err(|_| Refusal::Nonsense(request.to_owned()))?;
        match (verb, numbers.as_slice()) {
            ("effects", []) => {
                return Ok(listed(
                    verb,
                    self.trace.effects().iter().map(|(count, effect)| format!("{count}:{effect}")),
                ));
            }
            ("changes", []) => return Ok(listed(verb, self.trace.changes())),
            _ => {}
        }
        let (pid, rest) = numbers.split_first().ok_or_else(nonsense)?;
        let pid = Pid::from_raw(i32::try_from(*pid).map_err(|_| nonsense())?);
        match (verb, rest) {
            ("trace" | "compare", [low, high, head]) => {
                let looking = if verb == "trace" { Looking::Decode } else { Looking::Compare };
                let mut tracee = Tracee::attach(pid)?;
                let memory = Memory::of(pid, *head)?;
                ready()?;
                let (trace, returned) = Trace::record(&mut tracee, *low..*high, memory, looking)?;
                let end = if returned { "returned" } else { "died" };
                let answer = format!("traced {} {end}", trace.len());
                self.trace = trace;
                if returned {
                    tracee.release(None)?;
                }
                Ok(answer)
            }
            ("step", [count]) => {
                let count =
                    usize::try_from(*count).ok().filter(|count| *count < self.trace.len()).ok_or_else(nonsense)?;
                let mut tracee = Tracee::attach(pid)?;
                tracee.plant(self.trace.entry())?;
                ready()?;
                Ok(match self.trace.follow(&mut tracee, count)? {
                    Reached::At(address) if address == self.trace.address(count) => format!("at {address} same"),
                    Reached::At(address) => format!("at {address} other"),
                    Reached::Returned => "returned".into(),
                    Reached::Died => "died".into(),
                })
            }
            ("kill", []) => Tracee::held(pid).kill().map(done).map_err(Refusal::from),
            ("signal", [number]) => {
                let signal = i32::try_from(*number).ok().and_then(|number| Signal::try_from(number).ok());
                Tracee::held(pid).release(Some(signal.ok_or_else(nonsense)?)).map(done).map_err(Refusal::from)
            }
            ("go", []) => Tracee::held(pid).release(None).map(done).map_err(Refusal::from),
            _ => Err(nonsense()),
        }
    }
}

fn listed(verb: &str, found: impl IntoIterator<Item = impl Display>) -> String {
    let mut told = String::from(verb);
    for one in found {
        let _ = write!(told, " {one}");
    }
    told
}

fn done((): ()) -> String {
    "done".into()
}

fn ready() -> Result<(), Refusal> {
    say("ready").map_err(Refusal::System)
}
