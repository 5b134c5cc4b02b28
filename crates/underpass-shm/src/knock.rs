//! Datagrams that wake who waits at descriptors: a socket in the space's directory, to which whoever rings a bell sends.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::descriptor::Descriptor;
use crate::socket::address;
use crate::{Error, Result};

const DATAGRAMS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Binds a socket to a name of the directory, to which anybody who may write there sends to wake its owner; one that a
/// dead owner left makes room.
pub fn hearing(directory: impl AsFd, name: &str, what: &str) -> Result<OwnedFd> {
    let failed = |errno| Error::system("listen", what, errno);
    match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, DATAGRAMS, None).map_err(failed)?;
    rustix::net::bind(&socket, &address(&directory, name)?).map_err(failed)?;
    Ok(socket)
}

/// Takes one message that was sent to a hearing socket, if there is one.
pub fn forget(hearing: impl AsFd) {
    let _ = rustix::net::recv(&hearing, &mut [0_u8; 1], RecvFlags::DONTWAIT);
}

/// Sends to a hearing socket; false if nobody hears there any more. One that is full has been told.
#[must_use]
pub fn knock(directory: &Path, name: &str) -> bool {
    /// The one that this process sends with: unbound, and so a forked child's as well.
    static SENDER: OnceLock<Descriptor> = OnceLock::new();
    let open = || rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, DATAGRAMS, None);
    let sender = match SENDER.get() {
        Some(sender) => sender,
        None => match open().and_then(Descriptor::new) {
            Ok(sender) => SENDER.get_or_init(|| sender),
            Err(_) => return false,
        },
    };
    if sender.intact().is_none() {
        let Ok(opened) = open() else { return false };
        sender.replace(opened);
    }
    let Some(socket) = sender.intact() else { return false };
    let sent = match SocketAddrUnix::new(directory.join(name)) {
        Ok(address) => rustix::net::sendto(socket, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &address),
        Err(_) => through_descriptor(directory).and_then(|directory| {
            let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
            let address = SocketAddrUnix::new(path.as_str())?;
            rustix::net::sendto(socket, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &address)
        }),
    };
    matches!(sent, Ok(_) | Err(Errno::AGAIN))
}

/// A directory whose path is too long for a socket's address.
fn through_descriptor(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
}
