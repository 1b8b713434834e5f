//! The listener: hyper's HTTP/1 connections, with bounds on their number, their time and their size.

use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{app::App, guard, routes};

/// For the header of a request, the first one and each further one on a connection that is kept.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// For a whole connection: a gateway on a slow line fetches a policy of tens of megabytes in it.
const CONNECTION_TIME: Duration = Duration::from_secs(900);
/// For what is under way when a connection or the listener ends.
const GRACE: Duration = Duration::from_secs(5);
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 16 * 1024;
/// Open connections at once.
const SEATS: usize = 2048;
/// Of these from one address, unless it is a proxy on this machine.
const SEATS_EACH: usize = 64;

/// Who comes over the Unix socket is a proxy on this machine.
const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    socket: Option<UnixListener>,
    shutdown: impl Future<Output = ()>,
) {
    let routes = routes::router(&app);
    let seats = Seats::default();
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted.map(|(stream, peer)| {
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream), peer.ip().to_canonical())
            }),
            accepted = proxied(socket.as_ref()) => accepted.map(|stream| (Stream::Unix(stream), PROXY)),
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the peer is gone already: neither is a reason to end.
                tracing::warn!("accepting a connection: {error}");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(seat) = seats.take(peer) else { continue };
        let (app, routes, stopped) = (app.clone(), routes.clone(), stopped.clone());
        connections.spawn(async move {
            match stream {
                Stream::Tcp(stream) => requests(app, routes, stream, stopped).await,
                Stream::Unix(stream) => requests(app, routes, stream, stopped).await,
            }
            drop(seat);
        });
    }
    drop(listener);
    drop(stop);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn proxied(socket: Option<&UnixListener>) -> std::io::Result<UnixStream> {
    match socket {
        Some(socket) => socket.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn requests<S>(app: Arc<App>, routes: Router, stream: S, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (app, routes) = (app.clone(), routes.clone());
        async move { Ok::<_, std::convert::Infallible>(guard::dispatch(&app, &routes, request.map(Body::new)).await) }
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

/// Open connections by address.
#[derive(Clone, Default)]
struct Seats(Arc<Mutex<(usize, HashMap<IpAddr, usize>)>>);

struct Seat {
    seats: Seats,
    peer: IpAddr,
}

impl Seats {
    fn take(&self, peer: IpAddr) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.1.get(&peer).copied().unwrap_or(0);
        if taken.0 >= SEATS || own >= SEATS_EACH && !peer.is_loopback() {
            return None;
        }
        taken.0 += 1;
        taken.1.insert(peer, own + 1);
        Some(Seat { seats: self.clone(), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.0 -= 1;
        if let Some(own) = taken.1.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                taken.1.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_seats() {
        let seats = Seats::default();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let held: Vec<_> = (0..SEATS_EACH).map(|_| seats.take(one).unwrap()).collect();
        assert!(seats.take(one).is_none());
        assert!(seats.take("192.0.2.2".parse().unwrap()).is_some());
        drop(held);
        assert!(seats.take(one).is_some());
        assert!(seats.0.lock().unwrap().1.is_empty(), "an address without connections is forgotten");
    }
}
