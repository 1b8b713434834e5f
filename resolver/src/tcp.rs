//! DNS over TCP (RFC 7766) and over TLS (RFC 7858), and the door of DNS over HTTPS: one accept loop with one set of limits. Framing
//! and the idle limit are hickory's; its server's accept loop is not used, because it takes as many connections as anybody opens.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use hickory_net::{DnsStreamHandle, runtime::iocompat::AsyncIoTokioAsStd, tcp::TcpStream};
use hickory_proto::op::SerialMessage;
use hickory_server::server::TimeoutStream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tracing::warn;

use crate::{
    certificate::{Certificate, Protocol},
    https,
    limits::Places,
    pipeline::{Asker, Door},
    server::Shared,
    stats::Count,
    wire::Transport,
};

/// A connection without a complete message for this long is closed.
pub(crate) const IDLE: Duration = Duration::from_secs(10);
/// Questions of one connection under way at once (RFC 7766 section 6.2.1.1 wants more than one).
pub(crate) const PIPELINED: usize = 32;
/// Replies that wait to be read by the client; who does not read loses the connection.
const UNREAD: usize = 64;

/// What messages travel in.
#[derive(Clone)]
pub(crate) enum Carrier {
    Plain,
    Tls(Arc<Certificate>),
    Https(Arc<Certificate>),
}

/// Accepts connections until the resolver stops.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    door: Door,
    places: Places<IpAddr>,
    carrier: Carrier,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: waiting lets others finish.
                warn!(%error, "cannot accept DNS connections for a moment");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = places.take(peer.ip().to_canonical()) else {
            shared.tally.count(Count::ConnectionsRefused);
            continue;
        };
        let (shared, carrier) = (shared.clone(), carrier.clone());
        tokio::spawn(async move {
            // Replies are small and wanted at once.
            let _ = stream.set_nodelay(true);
            let asker = |transport| Asker { peer, transport, door };
            match carrier {
                Carrier::Plain => connection(&shared, stream, asker(Transport::Tcp)).await,
                Carrier::Tls(certificate) => {
                    if let Some(stream) = certificate.greet(stream, Protocol::Dot).await {
                        connection(&shared, stream, asker(Transport::Encrypted)).await;
                    }
                }
                Carrier::Https(certificate) => {
                    if let Some(stream) = certificate.greet(stream, Protocol::Https).await {
                        https::connection(&shared, stream, asker(Transport::Encrypted)).await;
                    }
                }
            }
            drop(place);
        });
    }
}

/// Serves one connection until it ends, idles or its client stops reading.
async fn connection(
    shared: &Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    asker: Asker,
) {
    let (stream, mut replies) = TcpStream::from_stream_with_buffer_size(AsyncIoTokioAsStd(stream), asker.peer, UNREAD);
    let mut messages = TimeoutStream::new(stream, IDLE);
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            // The stream also writes when it is looked at; while enough is under way, both wait for that.
            message = messages.next(), if under_way.len() < PIPELINED => match message {
                Some(Ok(message)) => under_way.push(shared.message(asker, message.into_parts().0)),
                // Half a connection closed: what is under way is still answered below.
                None if !under_way.is_empty() => {
                    while let Some(reply) = under_way.next().await {
                        if let Some(reply) = reply {
                            let _ = replies.send(SerialMessage::new(reply, asker.peer));
                        }
                    }
                    return;
                }
                Some(Err(_)) | None => return,
            },
            Some(reply) = under_way.next(), if !under_way.is_empty() => {
                if let Some(reply) = reply
                    && replies.send(SerialMessage::new(reply, asker.peer)).is_err()
                {
                    return;
                }
            }
        }
    }
}
