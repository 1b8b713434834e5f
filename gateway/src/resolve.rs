//! Starting the resolver: for the guests of a gateway, and alone (`sheshi resolve`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use sheshi_captive_portal::{Clock as _, SystemClock};
use sheshi_policy::{Compiled, Directory, Spec};
use sheshi_resolver::{Clients, Clock, Handle, Limits, PortalAddresses, Rate, Settings};

use crate::{
    cli::ResolveArgs,
    commands::{Failure, failed, progress},
    config::Config,
    generations,
};

/// Where strangers' queries are sent by the firewall.
const STRANGER_PORT: u16 = 5300;

/// A question under way holds up to two sockets, and systems start programs with 1024 at most: we take what we may have.
pub fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536).max(soft), hard)
    {
        tracing::warn!("only {soft} files may be open at a time: {error}");
    }
}

fn clock() -> Clock {
    Arc::new(|| SystemClock.moment())
}

/// Starts the resolver of a gateway on its addresses on the guest side.
pub fn start_for_guests(
    config: &Config,
    addresses: &[IpAddr],
    policy: Arc<ArcSwap<Compiled>>,
    directory: Arc<ArcSwap<Directory>>,
    opener: Arc<dyn sheshi_resolver::Opener>,
) -> Result<Handle, sheshi_resolver::Error> {
    let at = |port| addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    let v4 = addresses.iter().find_map(|address| if let IpAddr::V4(v4) = address { Some(*v4) } else { None });
    let v6 = addresses.iter().find_map(|address| if let IpAddr::V6(v6) = address { Some(*v6) } else { None });
    let settings = Settings {
        listen: at(53),
        stranger_listen: at(STRANGER_PORT),
        upstreams: config.dns.upstreams.iter().map(|address| (*address).into()).collect(),
        threads: config.dns.threads,
        cache_bytes: config.dns.cache_mib << 20,
        portal: PortalAddresses { v4, v6 },
        portal_name: Some(config.portal.name.clone()),
        own_addresses: addresses.to_vec(),
        contact: vec![contact_uri(&config.portal.contact)],
        organisation: config.portal.organisation.clone(),
        garden: sheshi_resolver::Garden { names: config.garden.clone(), opener: Some(opener) },
        ..Settings::default()
    };
    sheshi_resolver::start(settings, policy, Clients::Directory(directory), clock())
}

/// A contact as people write it, as the URI that structured DNS errors want.
fn contact_uri(contact: &str) -> String {
    match contact {
        text if text.contains(':') => text.into(),
        text if text.contains('@') => format!("mailto:{text}"),
        text if text.starts_with(|first: char| first == '+' || first.is_ascii_digit()) => {
            format!("tel:{}", text.replace([' ', '(', ')', '/'], ""))
        }
        text => format!("https://{text}"),
    }
}

/// `sheshi resolve`.
pub fn run(args: &ResolveArgs) -> Result<(), Failure> {
    raise_open_files();
    let compiled = match (&args.policy, &args.compiled) {
        (Some(policy), _) => Compiled::from_bytes(generations::build(policy, &mut progress())?).map_err(failed)?,
        (_, Some(compiled)) => Compiled::load(compiled).map_err(|error| Failure::Refused(error.to_string()))?,
        (None, None) => {
            let blocks = args.block.iter().map(|(category, path)| (category.as_str(), path.as_path()));
            let policy = Spec::blocking(blocks).check();
            let policy = policy.map_err(|problems| Failure::Refused(problems.to_string()))?;
            let editions = sheshi_lists::load(&policy, "".as_ref(), &mut progress());
            let editions = editions.map_err(|error| Failure::Refused(error.to_string()))?;
            let bytes = sheshi_policy::compile(&policy, &editions, &mut progress());
            Compiled::from_bytes(bytes.map_err(|error| Failure::Refused(error.to_string()))?).map_err(failed)?
        }
    };
    let rate = u16::try_from(args.rate).unwrap_or(u16::MAX);
    let rate = (rate > 0).then(|| Rate { per_second: rate, burst: rate.saturating_mul(3) });
    let settings = Settings {
        listen: args.listen.clone(),
        upstreams: args.upstream.iter().map(|address| (*address).into()).collect(),
        threads: usize::from(args.threads),
        cache_bytes: (args.cache as usize) << 20,
        limits: Limits { rate, ..Limits::single_client() },
        ..Settings::default()
    };
    let policy = Arc::new(ArcSwap::from_pointee(compiled));
    let handle =
        sheshi_resolver::start(settings, policy, Clients::Everyone { group: None }, clock()).map_err(failed)?;
    for address in handle.addresses() {
        tracing::info!("answering on {address}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime
        .block_on(async {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                end = tokio::signal::ctrl_c() => end,
                _ = terminate.recv() => Ok(()),
            }
        })
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_becomes_a_uri() {
        for (contact, uri) in [
            ("wifi@tirana.example", "mailto:wifi@tirana.example"),
            ("https://tirana.example/wifi", "https://tirana.example/wifi"),
            ("+355 4 123 456", "tel:+3554123456"),
            ("tirana.example/wifi", "https://tirana.example/wifi"),
        ] {
            assert_eq!(contact_uri(contact), uri);
        }
    }
}
