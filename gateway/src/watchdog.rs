//! Tells the service manager that guests' DNS is answered: by asking it, on each of our addresses, as guests do.
//!
//! A thread that is stuck answers nothing. Then nothing is said either, and the service manager starts the gateway anew;
//! the kernel keeps the rules and the admitted meanwhile.

use std::{
    env,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use crate::{notify, probe::dns};

/// How long an answer may take: it comes from memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How often the service manager wants to hear from us; `None` where it does not.
pub fn interval() -> Option<Duration> {
    let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let ours = env::var("WATCHDOG_PID").ok().is_none_or(|pid| pid == std::process::id().to_string());
    (micros > 0 && ours).then(|| Duration::from_micros(micros))
}

/// Speaks while the gateway waits for guard, guest side or a policy: that takes as long as it takes, and is no hang.
pub async fn wait() {
    let Some(interval) = interval() else { return };
    loop {
        notify::say("WATCHDOG=1");
        tokio::time::sleep(interval / 3).await;
    }
}

/// Speaks for as long as all our addresses answer. Several ports on each: the kernel spreads them over the threads.
pub async fn run(addresses: Vec<IpAddr>, name: String, threads: usize) {
    let Some(interval) = interval() else { return };
    loop {
        let (addresses, name) = (addresses.clone(), name.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let doors = addresses.iter().flat_map(|address| [53, 5300].map(|port| SocketAddr::new(*address, port)));
            doors
                .flat_map(|door| std::iter::repeat_n(door, threads.max(1) * 2))
                .find_map(|door| ask(door, &name).err().map(|error| (door, error)))
        });
        match asked.await {
            Ok(None) => notify::say("WATCHDOG=1"),
            Ok(Some((door, error))) => tracing::error!("no answer of our own at {door}: {error}"),
            Err(error) => tracing::error!("asking ourselves: {error}"),
        }
        tokio::time::sleep(interval / 3).await;
    }
}

/// Whether a resolver answers a question for the portal's name. We are no guest, so we are answered as a stranger.
fn ask(door: SocketAddr, name: &str) -> std::io::Result<()> {
    let any: SocketAddr = if door.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let question =
        dns::question(1, name, dns::kind::A).ok_or_else(|| std::io::Error::other("the portal has no name"))?;
    let socket = UdpSocket::bind(any)?;
    socket.connect(door)?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    socket.send(&question)?;
    let mut reply = [0; 1500];
    let length = socket.recv(&mut reply)?;
    match dns::Reply::parse(&reply[..length]) {
        Some(reply) if reply.id == 1 => Ok(()),
        _ => Err(std::io::Error::other("it answers nonsense")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_that_is_stuck_is_told_from_one_that_answers() {
        let alive = UdpSocket::bind("127.0.0.1:0").unwrap();
        let stuck = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (door, silent) = (alive.local_addr().unwrap(), stuck.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let mut message = [0; 512];
            let (length, from) = alive.recv_from(&mut message).unwrap();
            message[2] |= 0x80;
            alive.send_to(&message[..length], from).unwrap();
        });
        ask(door, "portal.example").unwrap();
        answering.join().unwrap();
        assert!(ask(silent, "portal.example").is_err());
    }
}
