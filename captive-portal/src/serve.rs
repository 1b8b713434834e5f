//! The listener: hyper's HTTP/1 connections, with bounds on their number, their time and their size.

use std::{
    future::Future,
    net::IpAddr,
    pin::pin,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sheshi_policy::Mac;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{Error, Portal, dispatch::dispatch, portal::Inner, routes::routes, tls::Certificate};

/// For the header of a request, the first one and each further one on a connection that is kept.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// For a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// For a whole connection: who reads slowly or asks on and on gives up the seat.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// For what is under way when a connection or the listener ends.
const GRACE: Duration = Duration::from_secs(3);
const HEADERS: usize = 100;
/// Of request line and header together; a wanted URL of 2 kB is three times as long when escaped.
const HEADER_BYTES: usize = 16 * 1024;

impl Portal {
    /// Serves plain HTTP until `shutdown`, then lets answers under way end.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        self.run(listener, None, shutdown).await;
    }

    /// Serves HTTPS with the certificate of `portal.tls` until `shutdown`. The files are read again when they change.
    pub async fn serve_tls(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let certificate = match &self.0.settings.tls {
            Some(tls) => Arc::new(Certificate::load(tls, &self.0.settings.name)?),
            None => {
                return Err(Error::Certificate {
                    path: "portal.tls".into(),
                    why: "the section is not in the settings".into(),
                });
            }
        };
        self.run(listener, Some(certificate), shutdown).await;
        Ok(())
    }

    async fn run(
        &self,
        listener: TcpListener,
        certificate: Option<Arc<Certificate>>,
        shutdown: impl Future<Output = ()>,
    ) {
        let routes = routes(self.0.clone());
        let (stop, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already: neither is a reason to end.
                    tracing::warn!("accepting a connection to the portal: {error}");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(seat) = Seat::take(&self.0, peer) else {
                self.0.counts.connections_refused.fetch_add(1, Relaxed);
                continue;
            };
            let (inner, routes, stopped, certificate) =
                (self.0.clone(), routes.clone(), stopped.clone(), certificate.clone());
            connections.spawn(async move {
                connection(inner, routes, stream, peer, certificate, stopped).await;
                drop(seat);
            });
        }
        drop(listener);
        drop(stop);
        let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    }
}

async fn connection(
    inner: Arc<Inner>,
    routes: Router,
    stream: TcpStream,
    peer: IpAddr,
    certificate: Option<Arc<Certificate>>,
    stopped: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    match certificate {
        None => requests(inner, routes, stream, peer, false, stopped).await,
        Some(certificate) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIME, certificate.acceptor().accept(stream)).await {
                requests(inner, routes, stream, peer, true, stopped).await;
            }
        }
    }
}

async fn requests(
    inner: Arc<Inner>,
    routes: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    secure: bool,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (inner, routes) = (inner.clone(), routes.clone());
        async move {
            Ok::<_, std::convert::Infallible>(dispatch(&inner, &routes, peer, secure, request.map(Body::new)).await)
        }
    });
    // Not the automatic builder of hyper-util: that one leaves a connection open that sends nothing.
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS)
        .max_header_size(HEADER_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(CONNECTION_TIME) => {}
        _ = stopped.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}

/// Who holds a connection: the device, where the neighbour table knows it, so that many addresses are no way round.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Device(Mac),
    Address(IpAddr),
}

/// One of the connections that are open at a time, on all listeners together.
struct Seat {
    inner: Arc<Inner>,
    holder: Holder,
}

impl Seat {
    fn take(inner: &Arc<Inner>, peer: IpAddr) -> Option<Self> {
        let limits = &inner.settings.limits;
        let holder = inner.mac(peer).map_or(Holder::Address(peer), Holder::Device);
        let mut seats = inner.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let all = inner.counts.connections.load(Relaxed) as usize;
        let own = seats.get(&holder).copied().unwrap_or(0);
        if all >= limits.connections || own >= limits.connections_per_device {
            return None;
        }
        seats.insert(holder, own + 1);
        inner.counts.connections.fetch_add(1, Relaxed);
        Some(Self { inner: inner.clone(), holder })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.inner.seats.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.counts.connections.fetch_sub(1, Relaxed);
        if let Some(own) = seats.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                seats.remove(&self.holder);
            }
        }
    }
}
