//! DNS over UDP, TCP and TLS, on every address that plays a resolver.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    error::{Doing, LabError},
    internet::names::Resolver,
    plan,
};

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(30);

/// Every address that answers DNS.
fn addresses() -> impl Iterator<Item = IpAddr> {
    let v4 = [plan::UPSTREAM_V4].into_iter().chain(plan::FOREIGN_V4).map(IpAddr::V4);
    v4.chain([plan::UPSTREAM_V6].into_iter().chain(plan::FOREIGN_V6).map(IpAddr::V6))
}

pub(crate) async fn start(resolver: &Arc<Resolver>, acceptor: &TlsAcceptor) -> Result<(), LabError> {
    for address in addresses() {
        let plain = SocketAddr::new(address, 53);
        let socket = UdpSocket::bind(plain).await.doing(|| format!("listening on {plain}/udp"))?;
        tokio::spawn(serve_udp(socket, resolver.clone(), address));
        let listener = TcpListener::bind(plain).await.doing(|| format!("listening on {plain}/tcp"))?;
        tokio::spawn(serve_tcp(listener, resolver.clone(), address));
        let encrypted = SocketAddr::new(address, 853);
        let listener = TcpListener::bind(encrypted).await.doing(|| format!("listening on {encrypted}/tcp"))?;
        tokio::spawn(serve_tls(listener, acceptor.clone(), resolver.clone(), address));
    }
    Ok(())
}

async fn serve_udp(socket: UdpSocket, resolver: Arc<Resolver>, address: IpAddr) {
    let (socket, mut room) = (Arc::new(socket), [0; 4096]);
    loop {
        // An ICMP error of an earlier reply shows up here; the next question comes anyway.
        let Ok((length, from)) = socket.recv_from(&mut room).await else { continue };
        if resolver.is_for_tunnel(&room[..length], address) {
            tokio::spawn(relay(socket.clone(), room[..length].to_vec(), from));
        } else if let Some(reply) = resolver.answer(&room[..length], address, "udp") {
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

/// Asks the tunnel's server, which may take its time. Without one there is no answer.
async fn relay(back: Arc<UdpSocket>, question: Vec<u8>, from: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(("127.0.0.1", plan::TUNNEL_PORT)).await?;
    socket.send(&question).await?;
    let mut room = [0; 4096];
    let length = timeout(IDLE, socket.recv(&mut room)).await??;
    back.send_to(&room[..length], from).await.map(drop)
}

async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>, address: IpAddr) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(converse(stream, resolver.clone(), address, "tcp"));
    }
}

async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor, resolver: Arc<Resolver>, address: IpAddr) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, resolver) = (acceptor.clone(), resolver.clone());
        tokio::spawn(async move {
            match timeout(IDLE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => converse(stream, resolver, address, "tls").await,
                _ => Ok(()),
            }
        });
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    resolver: Arc<Resolver>,
    address: IpAddr,
    transport: &str,
) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut question = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut question)).await??;
        let Some(reply) = resolver.answer(&question, address, transport) else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), reply.as_slice()].concat()).await?;
        stream.flush().await?;
    }
}
