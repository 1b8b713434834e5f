//! The echo host: sends back what it gets, for tests of open connections.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use crate::{
    error::{Doing, LabError},
    plan,
};

pub(crate) async fn start(ports: &[u16]) -> Result<(), LabError> {
    for address in [IpAddr::V4(plan::ECHO_V4), IpAddr::V6(plan::ECHO_V6)] {
        for port in ports {
            let at = SocketAddr::new(address, *port);
            let listener = TcpListener::bind(at).await.doing(|| format!("listening on {at}/tcp"))?;
            tokio::spawn(async move {
                loop {
                    if let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(echo(stream));
                    }
                }
            });
            let socket = UdpSocket::bind(at).await.doing(|| format!("listening on {at}/udp"))?;
            tokio::spawn(async move {
                let mut room = [0; 2048];
                loop {
                    if let Ok((length, from)) = socket.recv_from(&mut room).await {
                        let _ = socket.send_to(&room[..length], from).await;
                    }
                }
            });
        }
    }
    Ok(())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut room = [0; 2048];
    loop {
        let length = stream.read(&mut room).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&room[..length]).await?;
    }
}
