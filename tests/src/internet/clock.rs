//! Servers of the right time (SNTP, RFC 4330 section 5).

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::net::UdpSocket;

use crate::{
    error::{Doing, LabError},
    plan,
};

/// From 1900, where the protocol begins, to 1970.
const ERA: u64 = 2_208_988_800;

pub(crate) async fn start() -> Result<(), LabError> {
    for address in plan::CLOCKS {
        let at = SocketAddr::from((address, 123));
        let socket = UdpSocket::bind(at).await.doing(|| format!("listening on {at}/udp"))?;
        tokio::spawn(async move {
            let mut asked = [0; 128];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut asked).await else { continue };
                if length >= 48 {
                    let _ = socket.send_to(&answer(&asked), from).await;
                }
            }
        });
    }
    Ok(())
}

fn answer(asked: &[u8; 128]) -> [u8; 48] {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = ((since.as_secs() + ERA) as u32).to_be_bytes();
    let fraction = ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000) as u32;
    let mut reply = [0; 48];
    // Version 4, server, first stratum.
    (reply[0], reply[1]) = (0x24, 1);
    reply[24..32].copy_from_slice(&asked[40..48]);
    for at in [32, 40] {
        reply[at..at + 4].copy_from_slice(&seconds);
        reply[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
    }
    reply
}
