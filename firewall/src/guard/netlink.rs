//! A netfilter netlink socket, and the reading of what comes out of it. No `unsafe`: attributes are slices.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, setsockopt, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const HEADER: usize = 16;
/// Longest wait for the kernel. A batch waits for other transactions and for RCU, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for the largest batch we may send: 65,536 closed addresses are 4 MB.
const BUFFER: usize = 8 * 1024 * 1024;

/// Why the kernel did not do something.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub(crate) struct Failure {
    pub(crate) doing: String,
    pub(crate) source: io::Error,
}

impl Failure {
    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.source.raw_os_error() == Some(errno as i32)
    }
}

/// Messages of one transaction, ready to be sent.
pub(crate) struct Batched {
    bytes: Vec<u8>,
    labels: Vec<String>,
    /// Sequence number of the last message before the end.
    last: u32,
}

impl Batched {
    /// Takes the bytes of a batch, and numbers and flags them our way: the kernel before 6.10 does not acknowledge the end
    /// of a batch, so the last message in it asks to be acknowledged, and no other; errors come unasked.
    pub(crate) fn new(mut bytes: Vec<u8>, labels: Vec<String>) -> Self {
        let spans: Vec<_> = spans(&bytes).collect();
        let inner: Vec<_> =
            spans.into_iter().filter(|at| !matches!(u16_at(&bytes, at + 4), BATCH_BEGIN | BATCH_END)).collect();
        debug_assert_eq!(inner.len(), labels.len());
        let mut last = 0;
        for (index, at) in inner.iter().enumerate() {
            let ack = if index + 1 == inner.len() { NLM_F_ACK } else { 0 };
            let flags = (u16_at(&bytes, at + 6) & !NLM_F_ACK) | ack;
            last = index as u32 + 1;
            bytes[at + 6..at + 8].copy_from_slice(&flags.to_ne_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&last.to_ne_bytes());
        }
        for at in spans_of(&bytes, |kind| matches!(kind, BATCH_BEGIN | BATCH_END)) {
            let flags = u16_at(&bytes, at + 6) & !NLM_F_ACK;
            bytes[at + 6..at + 8].copy_from_slice(&flags.to_ne_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&0_u32.to_ne_bytes());
        }
        Self { bytes, labels, last }
    }

    /// The messages, for comparison with what the kernel dumps.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        messages(&self.bytes).filter(|message| !matches!(message.kind, BATCH_BEGIN | BATCH_END))
    }

    #[cfg(test)]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn label(&self, sequence: u32) -> &str {
        let index = (sequence as usize).wrapping_sub(1);
        self.labels.get(index).map_or("the transaction", String::as_str)
    }
}

/// A message: its type, sender and sequence number, and what follows the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) port: u32,
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes behind the netfilter header of four bytes.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        attributes(self.body.get(4..).unwrap_or_default())
    }

    /// The first attribute of this type.
    pub(crate) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

/// A socket to netfilter.
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    /// The system let us have buffers for the largest batch.
    pub(crate) roomy: bool,
}

impl Socket {
    /// A socket; with `groups`, one that also hears the kernel's announcements (a bit for each group).
    pub(crate) fn new(groups: u32) -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        // Forcing needs CAP_NET_ADMIN over the whole machine; else as much as the system grants everybody.
        let roomy = setsockopt(&fd, sockopt::SndBufForce, &BUFFER).is_ok();
        if !roomy {
            setsockopt(&fd, sockopt::SndBuf, &BUFFER)?;
        }
        if setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &BUFFER)?;
        }
        Ok(Self { fd, sequence: 1000, roomy })
    }

    /// Our address on the netlink bus, by which announcements name who caused them.
    pub(crate) fn port(&self) -> io::Result<u32> {
        Ok(socket::getsockname::<NetlinkAddr>(self.fd.as_raw_fd())?.pid())
    }

    /// A second handle on the same socket.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Sends a batch in one piece, and waits until the kernel has taken or refused it.
    pub(crate) fn commit(&mut self, batch: &Batched) -> Result<(), Failure> {
        if batch.last == 0 {
            return Ok(());
        }
        let failure = |sequence, source| Failure { doing: batch.label(sequence).to_string(), source };
        self.send(&batch.bytes).map_err(|source| failure(0, source))?;
        let mut first_error = None;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = self.receive(&mut buffer, deadline).map_err(|source| failure(0, source))?;
            for message in messages(&buffer[..length]).filter(|message| message.kind == NLMSG_ERROR) {
                let errno = -i32_at(message.body, 0);
                if errno != 0 && first_error.is_none() {
                    first_error = Some(failure(message.sequence, io::Error::from_raw_os_error(errno)));
                }
                // The kernel answers for the last message in any case, unless it refused the batch at its beginning.
                if message.sequence == batch.last || message.sequence == 0 {
                    return first_error.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Asks a question and hands each message of the answer to `each`; begins anew when a change came in between.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        family: u8,
        question: &[u8],
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        self.ask(kind, family, NLM_F_REQUEST | NLM_F_DUMP, question, &mut each)
    }

    /// Sends one request outside a batch, and waits for its acknowledgement.
    pub(crate) fn request(&mut self, kind: u16, family: u8, body: &[u8]) -> io::Result<()> {
        self.ask(kind, family, NLM_F_REQUEST | NLM_F_ACK, body, &mut |_| ())
    }

    fn ask(
        &mut self,
        kind: u16,
        family: u8,
        flags: u16,
        attributes: &[u8],
        each: &mut dyn FnMut(Message<'_>),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1).max(1000);
        let mut bytes = Vec::with_capacity(HEADER + 4 + attributes.len());
        bytes.extend_from_slice(&((HEADER + 4 + attributes.len()) as u32).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, family, 0, 0, 0]);
        bytes.extend_from_slice(attributes);
        self.send(&bytes)?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 64 * 1024];
        let mut torn = false;
        loop {
            let length = self.receive(&mut buffer, deadline)?;
            for message in messages(&buffer[..length]).filter(|message| message.sequence == self.sequence) {
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR if i32_at(message.body, 0) != 0 => {
                        return Err(io::Error::from_raw_os_error(-i32_at(message.body, 0)));
                    }
                    // A change came in between: what was read is no one state. EINTR lets the caller begin anew.
                    NLMSG_DONE if torn => return Err(Errno::EINTR.into()),
                    NLMSG_ERROR | NLMSG_DONE => return Ok(()),
                    _ => each(message),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = socket::sendto(self.fd.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Receives one datagram, whole, before the deadline.
    pub(crate) fn receive(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        setsockopt(&self.fd, sockopt::ReceiveTimeout, &TimeVal::microseconds(left.as_micros() as i64))?;
        loop {
            match socket::recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > buffer.len() => return Err(Errno::EMSGSIZE.into()),
                Ok(length) => return Ok(length),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// The messages in a buffer; ends at the first that does not fit.
pub(crate) fn messages(buffer: &[u8]) -> impl Iterator<Item = Message<'_>> {
    spans(buffer).map(|at| Message {
        kind: u16_at(buffer, at + 4),
        flags: u16_at(buffer, at + 6),
        sequence: u32_at(buffer, at + 8),
        port: u32_at(buffer, at + 12),
        body: &buffer[at + HEADER..at + u32_at(buffer, at) as usize],
    })
}

/// Where messages begin.
fn spans(buffer: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let length = buffer.get(start..start + 4).map(|bytes| u32_at(bytes, 0) as usize)?;
        if length < HEADER || length > buffer.len() - start {
            return None;
        }
        at = start + length.next_multiple_of(4);
        Some(start)
    })
}

fn spans_of(buffer: &[u8], wanted: impl Fn(u16) -> bool) -> Vec<usize> {
    spans(buffer).filter(|at| wanted(u16_at(buffer, at + 4))).collect()
}

/// The attributes in a slice: type, without its two flag bits, and value; ends at the first that does not fit.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes.get(..4)?, 0));
        let kind = u16_at(bytes, 2) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Appends an attribute.
pub(crate) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A text attribute, without its terminating zero.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number in network order; zero if it is not of that size.
pub(crate) fn number(value: &[u8]) -> u64 {
    match value.len() {
        1 | 2 | 4 | 8 => value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        _ => 0,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_ne_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    u32_at(bytes, at).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"sheshi\0");
        put(&mut bytes, 0x8002, &7_u32.to_be_bytes());
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read, [(1, b"sheshi\0".as_slice()), (2, [0, 0, 0, 7].as_slice())]);
        assert_eq!((text(read[0].1).as_str(), number(read[1].1)), ("sheshi", 7));
    }

    #[test]
    fn truncated_messages_and_attributes_end_the_reading() {
        assert_eq!(attributes(&[9, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[4, 0]).count(), 0);
        let mut message = vec![0; 16];
        message[0] = 20;
        assert_eq!(messages(&message).count(), 0);
        message[0] = 15;
        assert_eq!(messages(&message).count(), 0);
        message[0] = 16;
        assert_eq!(messages(&message).count(), 1);
    }
}
