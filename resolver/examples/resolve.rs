//! The filtering resolver alone: `resolve LISTEN UPSTREAM [LIST.txt | COMPILED [THREADS]]`, for measuring this room without the
//! rest.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use sheshi_policy::{Compiled, Edition, Moment, Spec, compile};
use sheshi_resolver::{Clients, Limits, Settings, Upstream};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or_else(|| format!("want {what}"));
    let listen = next("an address to listen on, such as 127.0.0.1:5400")?.parse()?;
    let upstream: std::net::SocketAddr = next("an upstream, such as 9.9.9.9:53")?.parse()?;
    let compiled = match next("").ok() {
        Some(list) if list.ends_with(".txt") => blocking(Some(Path::new(&list)))?,
        Some(path) => Compiled::load(Path::new(&path))?,
        None => blocking(None)?,
    };
    let threads = next("").ok().map_or(Ok(1), |text| text.parse())?;
    let settings = Settings {
        listen: vec![listen],
        upstreams: vec![Upstream::from(upstream)],
        threads,
        limits: Limits::single_client(),
        ..Settings::default()
    };
    let policy = Arc::new(ArcSwap::from_pointee(compiled));
    let clock = Arc::new(|| Moment::At(jiff::Timestamp::now()));
    let handle = sheshi_resolver::start(settings, policy, Clients::Everyone { group: None }, clock)?;
    println!("listening on {:?}", handle.addresses());
    loop {
        std::thread::park();
    }
}

/// A policy that blocks the names of one list.
fn blocking(list: Option<&Path>) -> Result<Compiled, Box<dyn std::error::Error>> {
    let policy = Spec::blocking(list.map(|list| ("adult", list))).check()?;
    let editions: Result<Vec<_>, _> = policy
        .lists
        .iter()
        .map(|known| {
            Ok::<_, Box<dyn std::error::Error>>(Edition::parse(known, &std::fs::read(list.unwrap_or(Path::new("")))?)?)
        })
        .collect();
    Ok(Compiled::from_bytes(compile(&policy, &editions?, &mut |_| ())?)?)
}
