//! The sockets of ports: a client sends the memory of its channel once; the kernel vouches for who it is.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use crate::{Error, Result};

/// Connections that may wait for the server to look at them.
const BACKLOG: i32 = 4096;
/// What an introduction starts with.
const GREETING: &[u8; 9] = b"underpass";
/// Bytes that a client says of itself.
const SAID: usize = 20;

/// Who is at the other end of a socket, by the kernel's word at the time it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// In this process's pid namespace.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// Binds a listening socket to a name of the directory; one that a dead server left makes room.
pub fn listen(directory: impl AsFd, name: &str, what: &str) -> Result<OwnedFd> {
    let failed = |errno| Error::system("listen", what, errno);
    match rustix::fs::unlinkat(&directory, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed)?;
    rustix::net::bind(&socket, &address(&directory, name)?).map_err(failed)?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
    Ok(socket)
}

/// Connects to a port's socket and sends it the channel's memory. `None`: the backlog is full for longer than `patience`.
pub fn introduce(
    directory: impl AsFd,
    name: &str,
    memory: impl AsFd,
    said: [u8; SAID],
    patience: Duration,
    what: &str,
) -> Result<Option<()>> {
    let failed = |errno| Error::system("connect", what, errno);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience)).map_err(failed)?;
    match rustix::net::connect(&socket, &address(&directory, name)?) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(Errno::NOENT | Errno::CONNREFUSED | Errno::PROTOTYPE | Errno::NOTSOCK) => {
            let why = format!("nobody listens at its port's socket {name}: create the port anew");
            return Err(Error::Corrupted { what: what.into(), why });
        }
        Err(errno) => return Err(failed(errno)),
    }
    let descriptors = [memory.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let words = [IoSlice::new(GREETING), IoSlice::new(&said)];
    rustix::net::sendmsg(&socket, &words, &mut ancillary, SendFlags::NOSIGNAL).map_err(failed)?;
    Ok(Some(()))
}

/// What comes of a look for clients.
#[derive(Debug)]
pub enum Met {
    /// Somebody connected; its introduction may still be on its way.
    Socket(OwnedFd),
    /// Nobody else waits.
    Nobody,
    /// This process has no descriptor left for it: it waits on.
    Later,
}

/// Takes the next client that has connected.
pub fn accept(listener: impl AsFd) -> Met {
    loop {
        match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => return Met::Socket(socket),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Met::Nobody,
            Err(_) => return Met::Later,
        }
    }
}

/// What a client has sent of itself.
#[derive(Debug)]
pub enum Introduction {
    /// Its memory, what it says, and who it is.
    Complete(OwnedFd, [u8; SAID], Credentials),
    /// Nothing yet.
    Awaited,
    /// This process has no descriptor left for its memory: it stays in the socket.
    NoRoom,
    /// Nothing that makes sense, and nothing will come.
    Void,
}

/// Two descriptors to give up when there are no others.
pub fn spare(listener: impl AsFd) -> Option<[OwnedFd; 2]> {
    let one = || rustix::io::fcntl_dupfd_cloexec(&listener, 0).ok();
    Some([one()?, one()?])
}

/// Reads the introduction of a client that has connected; it is only peeked at, so that it can be read again.
#[must_use]
pub fn introduction(socket: &OwnedFd) -> Introduction {
    let mut bytes = [0; GREETING.len() + SAID + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::PEEK;
    let received = match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Introduction::Awaited,
        Err(_) => return Introduction::Void,
    };
    let memory = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let said = bytes[..received.bytes].strip_prefix(GREETING).and_then(|said| said.try_into().ok());
    match (said, memory, sockopt::socket_peercred(socket)) {
        (Some(said), Some(memory), Ok(peer)) => {
            let (pid, uid, gid) = (peer.pid.as_raw_nonzero().get(), peer.uid.as_raw(), peer.gid.as_raw());
            Introduction::Complete(memory, said, Credentials { pid, uid, gid })
        }
        (Some(_), None, Ok(_)) if received.flags.contains(ReturnFlags::CTRUNC) => Introduction::NoRoom,
        _ => Introduction::Void,
    }
}

/// Memory that cannot shrink under whoever maps it, its bytes reserved.
pub fn sealed_memory(size: usize, what: &str) -> Result<OwnedFd> {
    let failed = |errno| Error::system("create", what, errno);
    let file = rustix::fs::memfd_create("underpass-channel", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(failed)?;
    crate::space::reserve(&file, 0, size as u64, what)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).map_err(failed)?;
    Ok(file)
}

/// The size of memory that a client sent; `None` if it is not sealed, so that it could vanish under us.
#[must_use]
pub fn sealed_size(memory: &OwnedFd) -> Option<usize> {
    let seals = rustix::fs::fcntl_get_seals(memory).ok()?;
    let status = rustix::fs::fstat(memory).ok()?;
    seals.contains(SealFlags::SHRINK | SealFlags::SEAL).then(|| usize::try_from(status.st_size).ok())?
}

/// Through the descriptor's own path, since a socket's address holds 107 bytes and a directory's path may not fit.
fn address(directory: &impl AsFd, name: &str) -> Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd());
    SocketAddrUnix::new(path.as_str()).map_err(|errno| Error::system("address", name, errno))
}
