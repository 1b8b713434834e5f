// Batches of datagrams in one system call, with the address each was sent to: no safe crate wraps `recvmmsg` and `sendmmsg`
// without allocating for each batch. Everything unsafe about sockets is in this file.
#![allow(unsafe_code)]

//! UDP sockets of the listeners.

use std::{
    io, mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::wire::MAX_UDP;

/// Datagrams in a batch.
pub(crate) const BATCH: usize = 32;
/// Longest query taken over UDP: honest ones have a few dozen bytes. Not a power of two, so that a batch's buffers do not share
/// the same few lines of the processor's cache.
const LONGEST_QUERY: usize = 21 * 64;
/// Room for one IP_PKTINFO or IPV6_PKTINFO control message: 16 bytes of header, 20 of content, aligned.
const CONTROL: usize = 64;
/// How long a thread waits for a datagram before it looks whether it is to stop.
const WAIT: Duration = Duration::from_millis(200);
/// Kernel buffer asked for; a burst waits there while a batch is answered.
const KERNEL_BUFFER: usize = 4 << 20;

/// Opens a socket at `address`, which may not exist on this machine yet. Several can share one address: the kernel spreads
/// clients over them.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    // The kernel may cap it; a smaller buffer is no failure.
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    socket.set_read_timeout(Some(WAIT))?;
    socket.bind(&address.into())?;
    if address.ip().is_unspecified() {
        tell_destination(socket.as_raw_fd(), address.is_ipv6())?;
    }
    Ok(socket.into())
}

/// Asks for each datagram's destination, so that the reply leaves from the address that was asked.
fn tell_destination(fd: RawFd, v6: bool) -> io::Result<()> {
    let (level, option) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    let on: libc::c_int = 1;
    // SAFETY: `fd` is open for the call's duration; the option's value is a c_int that outlives the call, with its size.
    let done = unsafe {
        libc::setsockopt(fd, level, option, ptr::from_ref(&on).cast(), mem::size_of::<libc::c_int>() as libc::socklen_t)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where a datagram came from and to: what a reply needs to take the same way back.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    peer: libc::sockaddr_storage,
    peer_len: libc::socklen_t,
    control: Control,
    control_len: usize,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Datagrams as they come in and go out: allocated once, used over and over.
pub(crate) struct Batch {
    queries: Box<[[u8; LONGEST_QUERY]]>,
    replies: Box<[[u8; MAX_UDP]]>,
    peers: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    /// Each header of `incoming` points to its own query, peer and control for good; the kernel changes lengths only.
    incoming: Box<[libc::mmsghdr]>,
    _incoming_vectors: Box<[libc::iovec]>,
    /// Filled anew for each sending, without gaps where nothing is answered.
    outgoing: Box<[libc::mmsghdr]>,
    outgoing_vectors: Box<[libc::iovec]>,
    /// How many of `incoming` the last call changed.
    changed: usize,
    /// Length of each reply; zero for none.
    lengths: [usize; BATCH],
    control: usize,
}

impl Batch {
    /// Buffers for `socket`.
    pub(crate) fn new(socket: &UdpSocket) -> io::Result<Self> {
        // Only a socket for all addresses is told the destination.
        let control = if socket.local_addr()?.ip().is_unspecified() { CONTROL } else { 0 };
        // SAFETY: sockaddr_storage, iovec and mmsghdr are plain C structures for which all zeroes is a valid value.
        let (peer, vector, header): (libc::sockaddr_storage, libc::iovec, libc::mmsghdr) = unsafe { mem::zeroed() };
        let mut queries = vec![[0; LONGEST_QUERY]; BATCH].into_boxed_slice();
        let mut peers = vec![peer; BATCH].into_boxed_slice();
        let mut controls = vec![Control([0; CONTROL]); BATCH].into_boxed_slice();
        let mut vectors = vec![vector; BATCH].into_boxed_slice();
        let mut incoming = vec![header; BATCH].into_boxed_slice();
        for at in 0..BATCH {
            vectors[at] = libc::iovec { iov_base: queries[at].as_mut_ptr().cast(), iov_len: LONGEST_QUERY };
            let header = &mut incoming[at].msg_hdr;
            header.msg_name = (&raw mut peers[at]).cast();
            header.msg_iov = &raw mut vectors[at];
            header.msg_iovlen = 1;
            header.msg_control = if control == 0 { ptr::null_mut() } else { controls[at].0.as_mut_ptr().cast() };
        }
        Ok(Self {
            queries,
            replies: vec![[0; MAX_UDP]; BATCH].into(),
            peers,
            controls,
            incoming,
            _incoming_vectors: vectors,
            outgoing: vec![header; BATCH].into(),
            outgoing_vectors: vec![vector; BATCH].into(),
            changed: BATCH,
            lengths: [0; BATCH],
            control,
        })
    }

    /// Waits for at least one datagram and takes all that are there, up to a batch; gives how many. Zero after a while without any.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for header in &mut self.incoming[..self.changed] {
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = self.control as _;
        }
        // SAFETY: every header points to one vector, one peer and one control buffer of its own, set in `new`; these live in
        // boxes of `self` that are never replaced; the lengths the kernel reads are the true ones, restored just above.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.incoming.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            self.changed = BATCH;
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => Ok(0),
                _ => Err(error),
            };
        }
        self.changed = count as usize;
        self.lengths[..self.changed].fill(0);
        Ok(self.changed)
    }

    /// Who sent datagram `at`; `None` when the address is of no family we serve or the datagram was longer than its buffer.
    pub(crate) fn peer(&self, at: usize) -> Option<SocketAddr> {
        if self.incoming[at].msg_hdr.msg_flags & libc::MSG_TRUNC != 0 { None } else { address(&self.peers[at]) }
    }

    /// Datagram `at` and the buffer for its reply.
    pub(crate) fn pair(&mut self, at: usize) -> (&[u8], &mut [u8]) {
        let length = (self.incoming[at].msg_len as usize).min(LONGEST_QUERY);
        (&self.queries[at][..length], &mut self.replies[at])
    }

    /// Where datagram `at` came from, for a reply that is sent later.
    #[allow(clippy::unnecessary_cast, reason = "msg_controllen is a u32 with musl")]
    pub(crate) fn origin(&self, at: usize) -> Origin {
        let header = &self.incoming[at].msg_hdr;
        Origin {
            peer: self.peers[at],
            peer_len: header.msg_namelen,
            control: self.controls[at],
            control_len: (header.msg_controllen as usize).min(self.control),
        }
    }

    /// Notes that the reply to datagram `at` is `length` bytes long.
    pub(crate) fn reply(&mut self, at: usize, length: usize) {
        self.lengths[at] = length.min(MAX_UDP);
    }

    /// Sends the replies to the first `count` datagrams. What the kernel does not take is dropped, as the network would.
    #[allow(clippy::unnecessary_cast, reason = "msg_controllen is a u32 with musl")]
    pub(crate) fn send(&mut self, socket: &UdpSocket, count: usize) {
        let mut filled = 0;
        for at in 0..count {
            if self.lengths[at] == 0 {
                continue;
            }
            let from = &self.incoming[at].msg_hdr;
            let control = (from.msg_controllen as usize).min(self.control);
            self.outgoing_vectors[filled] =
                libc::iovec { iov_base: self.replies[at].as_mut_ptr().cast(), iov_len: self.lengths[at] };
            let header = &mut self.outgoing[filled].msg_hdr;
            header.msg_name = (&raw mut self.peers[at]).cast();
            header.msg_namelen = from.msg_namelen;
            header.msg_iov = &raw mut self.outgoing_vectors[filled];
            header.msg_iovlen = 1;
            // The control message that told the destination, given back, names it as the reply's source.
            header.msg_control = if control == 0 { ptr::null_mut() } else { self.controls[at].0.as_mut_ptr().cast() };
            header.msg_controllen = control as _;
            filled += 1;
        }
        let mut sent = 0;
        while sent < filled {
            // SAFETY: the headers from `sent` to `filled` were set just above and point to vectors, peers, replies and controls
            // of `self`, each with its true length; `sent` is less than `filled`, which is at most BATCH.
            let done = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.outgoing.as_mut_ptr().add(sent),
                    (filled - sent) as libc::c_uint,
                    0,
                )
            };
            // An error belongs to the first datagram only: it is left out and the rest goes on.
            sent += if done > 0 { done as usize } else { 1 };
        }
    }
}

/// A socket of our own for one batch of questions to one upstream, from a random port above 1023: the kernel's own choice is from a
/// smaller range (RFC 5452 section 9.2). Connected, so that only that upstream's datagrams come in.
pub(crate) fn connect(upstream: SocketAddr, mut random: impl FnMut() -> u64) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(upstream), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let any = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut tries = 0;
    loop {
        let port = 1024 + (random() % (65_536 - 1024)) as u16;
        match socket.bind(&SocketAddr::new(any, port).into()) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < 32 => tries += 1,
            Err(error) => return Err(error),
        }
    }
    socket.connect(&upstream.into())?;
    Ok(socket.into())
}

/// Datagrams to and from an upstream, in batches over connected sockets.
pub(crate) struct Exchange {
    buffers: Box<[[u8; LONGEST_QUERY]]>,
    lengths: [usize; BATCH],
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self { buffers: vec![[0; LONGEST_QUERY]; BATCH].into(), lengths: [0; BATCH] }
    }

    /// The buffer of datagram `at`, to be filled before sending.
    pub(crate) fn buffer(&mut self, at: usize) -> &mut [u8; LONGEST_QUERY] {
        &mut self.buffers[at]
    }

    /// Notes how long datagram `at` is.
    pub(crate) fn fill(&mut self, at: usize, length: usize) {
        self.lengths[at] = length.min(LONGEST_QUERY);
    }

    /// Datagram `at` as it came in.
    pub(crate) fn datagram(&self, at: usize) -> &[u8] {
        &self.buffers[at][..self.lengths[at]]
    }

    /// Sends the first `count` datagrams. One that the kernel does not take will be missed and asked for again.
    pub(crate) fn send(&mut self, socket: &UdpSocket, count: usize) {
        let (vectors, mut headers) = self.headers(count.min(BATCH), |lengths, at| lengths[at]);
        let mut sent = 0;
        while sent < headers.len() {
            // SAFETY: each header points to a vector in `vectors`, and that to a buffer of `self` with its true length; both outlive
            // the call; `sent` is less than their number.
            let done = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr().add(sent),
                    (headers.len() - sent) as libc::c_uint,
                    0,
                )
            };
            sent += if done > 0 { done as usize } else { 1 };
        }
        drop(vectors);
    }

    /// Takes the datagrams that are there, up to a batch; gives how many.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> usize {
        let (_vectors, mut headers) = self.headers(BATCH, |_, _| LONGEST_QUERY);
        // SAFETY: each header points to a vector in `_vectors`, and that to a whole buffer of `self`; both outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        // An error such as "port unreachable" is the upstream's silence: the deadline deals with it.
        let count = usize::try_from(count).unwrap_or(0);
        for (length, header) in self.lengths.iter_mut().zip(&headers[..count]) {
            // What was longer than its buffer is no answer we asked for.
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            *length = if whole { header.msg_len as usize } else { 0 };
        }
        count
    }

    fn headers(
        &mut self,
        count: usize,
        length: impl Fn(&[usize; BATCH], usize) -> usize,
    ) -> (Vec<libc::iovec>, Vec<libc::mmsghdr>) {
        let lengths = &self.lengths;
        let mut vectors: Vec<_> = (self.buffers.iter_mut().take(count).enumerate())
            .map(|(at, buffer)| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length(lengths, at) })
            .collect();
        let headers = vectors
            .iter_mut()
            .map(|vector| {
                // SAFETY: mmsghdr is a plain C structure for which all zeroes is a valid value.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        (vectors, headers)
    }
}

/// Waits for any of many sockets.
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; a valid result is a descriptor that nobody else owns.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `socket` under `key` until it is closed.
    pub(crate) fn add(&self, socket: &impl AsRawFd, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key };
        // SAFETY: both descriptors are open for the call's duration; the event outlives it.
        let done =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits up to `millis` for datagrams and puts the keys of sockets that have some into `ready`.
    pub(crate) fn wait(&self, ready: &mut Vec<u64>, millis: u64) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: `events` has room for the number of events given and outlives the call.
        let count = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as libc::c_int,
                millis as libc::c_int,
            )
        };
        ready.clear();
        ready.extend(events.iter().take(usize::try_from(count).unwrap_or(0)).map(|event| event.u64));
    }
}

/// Sends one late reply; like any datagram it may be lost.
pub(crate) fn send_to(socket: &UdpSocket, reply: &[u8], origin: &Origin) {
    let mut origin = *origin;
    let mut vector = libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
    // SAFETY: msghdr is a plain C structure for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut origin.peer).cast();
    header.msg_namelen = origin.peer_len;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if origin.control_len != 0 {
        header.msg_control = origin.control.0.as_mut_ptr().cast();
        header.msg_controllen = origin.control_len as _;
    }
    // SAFETY: the header points to `origin`, `vector` and through it to `reply`, all alive until the call returns; `sendmsg`
    // only reads them.
    unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
}

/// The kernel's address as Rust's.
fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in here; storage is larger and aligned for it.
            let v4 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in6 here; storage is larger and aligned for it.
            let v6 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

// SAFETY: the raw pointers inside the headers and vectors point into boxes that the batch owns and moves along with; nothing of it
// belongs to the thread that made it.
unsafe impl Send for Batch {}
