//! How a client comes in that can read the space and not write it: another user's process.
//!
//! It cannot ring before it was let in, since the bell is in the port's file; but a futex wakes whoever sleeps on a word
//! that the waker can read. A wake without a change gets lost if the receiver is only about to sleep, so it is repeated,
//! in growing intervals, until the server has handed an annex over. From then on it is a client like any other.

use std::os::fd::OwnedFd;

use underpass_shm::layout::port::{PORT_CLOSED, PortWords, REFUSED, REVOKED, UNMET};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::socket;
use underpass_shm::sync::Ordering::Acquire;

use super::annex;
use super::channel::Channel;
use crate::error::Phase;
use crate::kernel::Kernel;
use crate::wait::{Patience, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// Waits until the server has let this client in: the words where it rings from then on.
pub fn await_admission(
    kernel: &dyn Kernel,
    port: &PortWords,
    server: Life,
    channel: &Channel,
    line: &OwnedFd,
    deadline: Deadline,
) -> Result<Placed<PortWords>> {
    let (standing, patience) = (&channel.stacks[0].caller.standing, Patience::new());
    let waiting = Waiting { sleepers: None, deadline, patience: &patience, partner: 0, operation: Operation::Call };
    let gone = || port.state.load(Acquire) == PORT_CLOSED || !kernel.alive(server);
    let died = || Error::PeerDied { pid: kernel.pid(server), phase: Phase::Send };
    let met = wait_until(
        kernel,
        waiting,
        || channel.standing() != UNMET,
        |watch, _| {
            if channel.standing() == UNMET {
                let Some(watch) = watch else { return Ok(None) };
                watch.word(standing, UNMET);
                watch.life(server);
                watch.unheard = true;
                if gone() {
                    return Err(died());
                }
                kernel.wake(&port.doorbell, 1);
                return Ok(None);
            }
            Ok(Some(()))
        },
    );
    met.map_err(|error| match error {
        Error::TimedOut(_) | Error::WouldBlock => Error::TimedOut(Phase::Send),
        other => other,
    })?;
    match channel.standing() {
        REFUSED | REVOKED if gone() => Err(died()),
        REFUSED => Err(Error::Denied { pid: kernel.pid(server) }),
        REVOKED => Err(Error::Cancelled),
        _ => annex::view(&socket::handed_over(line).ok_or_else(died)?),
    }
}
