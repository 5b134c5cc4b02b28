//! The sockets of ports: a client sends the memory of its channel once; the kernel vouches for who it is.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use crate::{Error, Result, room};

/// Connections that may wait for the server to look at them.
const BACKLOG: i32 = 4096;
/// What an introduction starts with.
const GREETING: &[u8; 9] = b"underpass";
/// The same, by somebody who can only read the space.
const FOREIGN: &[u8; 9] = b"elsewhere";
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

/// Connects to a port's socket and sends it the channel's memory; the connection. `None`: the backlog is full for longer
/// than `patience`.
pub fn introduce(
    directory: impl AsFd,
    name: &str,
    memory: impl AsFd,
    said: [u8; SAID],
    foreign: bool,
    patience: Duration,
    what: &str,
) -> Result<Option<OwnedFd>> {
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
    let greeting = if foreign { FOREIGN } else { GREETING };
    send(&socket, &[IoSlice::new(greeting), IoSlice::new(&said)], memory.as_fd(), SendFlags::empty())
        .map_err(failed)?;
    Ok(Some(socket))
}

/// Sends bytes and a descriptor.
fn send(
    socket: &OwnedFd,
    words: &[IoSlice<'_>],
    memory: BorrowedFd<'_>,
    flags: SendFlags,
) -> rustix::io::Result<usize> {
    let descriptors = [memory];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(socket, words, &mut ancillary, flags | SendFlags::NOSIGNAL)
}

/// Hands memory to whoever is at the other end, without waiting; false if it is not taken.
#[must_use]
pub fn hand_over(socket: &OwnedFd, memory: &OwnedFd) -> bool {
    send(socket, &[IoSlice::new(GREETING)], memory.as_fd(), SendFlags::DONTWAIT).is_ok()
}

/// What was handed over, if anything was.
#[must_use]
pub fn handed_over(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let (mut bytes, flags) = ([0; GREETING.len()], RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT);
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags).ok()?;
    first_descriptor(&mut ancillary)
}

fn first_descriptor(ancillary: &mut RecvAncillaryBuffer<'_>) -> Option<OwnedFd> {
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

/// True once nobody has the other end any more: its processes have died or closed it.
#[must_use]
pub fn is_deserted(socket: &OwnedFd) -> bool {
    let mut look = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut look, Some(&Timespec::default())).is_ok() && look[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// True if one of these has something to accept, to read, or an end to find.
#[must_use]
pub fn any_readable<'a>(sockets: impl Iterator<Item = &'a OwnedFd>) -> bool {
    let mut look: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    poll(&mut look, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Who is at the other end. The pid is 0 if this process's pid namespace does not show it.
#[must_use]
pub fn peer(socket: &OwnedFd) -> Option<Credentials> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (descriptor, out) = (socket.as_raw_fd(), (&raw mut found).cast());
    // SAFETY: S4, the record and its length outlive the call.
    let code = unsafe { libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_PEERCRED, out, &raw mut length) };
    (code == 0).then_some(Credentials { pid: found.pid, uid: found.uid, gid: found.gid })
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
    /// Its memory, what it says, who it is, and whether it can only read the space.
    Complete(OwnedFd, [u8; SAID], Credentials, bool),
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
    let memory = first_descriptor(&mut ancillary);
    let heard = &bytes[..received.bytes];
    let foreign = heard.starts_with(FOREIGN);
    let said = heard.strip_prefix(if foreign { FOREIGN } else { GREETING }).and_then(|said| said.try_into().ok());
    match (said, memory, peer(socket)) {
        (Some(said), Some(memory), Some(peer)) => Introduction::Complete(memory, said, peer, foreign),
        (Some(_), None, Some(_)) if received.flags.contains(ReturnFlags::CTRUNC) => Introduction::NoRoom,
        _ => Introduction::Void,
    }
}

/// Memory that cannot shrink under whoever maps it, its bytes reserved.
pub fn sealed_memory(size: usize, what: &str) -> Result<OwnedFd> {
    let failed = |errno| Error::system("create", what, errno);
    let file = rustix::fs::memfd_create("underpass-channel", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(failed)?;
    room::reserve(&file, 0..size as u64, what, &room::alone)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).map_err(failed)?;
    Ok(file)
}

/// The size of memory that a client sent; `None` if it is not sealed, so that it could vanish under us.
#[must_use]
pub fn sealed_size(memory: &OwnedFd) -> Option<usize> {
    let seals = rustix::fs::fcntl_get_seals(memory).ok()?;
    let status = rustix::fs::fstat(memory).ok()?;
    // Huge pages can be sealed as well, and run out when they are touched.
    if rustix::fs::fstatfs(memory).ok()?.f_type != libc::TMPFS_MAGIC {
        return None;
    }
    seals.contains(SealFlags::SHRINK | SealFlags::SEAL).then(|| usize::try_from(status.st_size).ok())?
}

/// Through the descriptor's own path, since a socket's address holds 107 bytes and a directory's path may not fit.
pub(crate) fn address(directory: &impl AsFd, name: &str) -> Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd());
    SocketAddrUnix::new(path.as_str()).map_err(|errno| Error::system("address", name, errno))
}
