//! Starting the resolver: for the guests of a gateway, and alone (`sheshi resolve`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use sheshi_captive_portal::{Clock as _, SystemClock};
use sheshi_policy::{Compiled, Directory, Spec};
use sheshi_resolver::{Clients, Clock, Handle, Limits, NewNames, PortalAddresses, Rate, Secure, Settings};

use crate::{
    cli::ResolveArgs,
    commands::{Failure, failed, progress},
    config::Config,
    generations,
    plan::Trouble,
};

/// Where strangers' queries are sent by the firewall.
pub(crate) const STRANGER_PORT: u16 = 5300;

/// A question under way holds up to two sockets, and systems start programs with 1024 at most: we take what we may have.
pub fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536).max(soft), hard)
    {
        tracing::warn!("only {soft} files may be open at a time: {error}");
    }
}

pub(crate) fn clock() -> Clock {
    Arc::new(|| SystemClock.moment())
}

/// Starts the resolver of a gateway on its addresses on the guest side. Where only the certificate of encrypted DNS cannot be used,
/// guests are served without, and the trouble says so.
pub fn start_for_guests(
    config: &Config,
    addresses: &[IpAddr],
    policy: Arc<ArcSwap<Compiled>>,
    directory: Arc<ArcSwap<Directory>>,
    opener: Arc<dyn sheshi_resolver::Opener>,
) -> Result<(Handle, Option<Trouble>), sheshi_resolver::Error> {
    let at = |port| addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    let v4 = addresses.iter().find_map(|address| if let IpAddr::V4(v4) = address { Some(*v4) } else { None });
    let v6 = addresses.iter().find_map(|address| if let IpAddr::V6(v6) = address { Some(*v6) } else { None });
    let settings = Settings {
        listen: at(53),
        stranger_listen: at(STRANGER_PORT),
        secure: config.dns.tls.as_ref().map(|tls| tls.secure(addresses, &config.portal.name)),
        upstreams: config.dns.upstreams.clone(),
        threads: config.dns.threads,
        cache_bytes: config.dns.cache_mib << 20,
        portal: PortalAddresses { v4, v6 },
        portal_name: Some(config.portal.name.clone()),
        own_addresses: addresses.to_vec(),
        contact: vec![contact_uri(&config.portal.contact)],
        organisation: config.portal.organisation.clone(),
        garden: sheshi_resolver::Garden { names: config.garden.clone(), opener: Some(opener) },
        limits: Limits {
            new_names: Some(config.dns.new_names).filter(|few| *few > 0).map(|per_minute| NewNames { per_minute }),
            ..Limits::default()
        },
        ..Settings::default()
    };
    let start = |settings, directory| {
        sheshi_resolver::start(settings, Arc::clone(&policy), Clients::Directory(directory), clock())
    };
    match start(settings.clone(), Arc::clone(&directory)) {
        Err(error @ sheshi_resolver::Error::Certificate { .. }) => {
            let trouble = Trouble::new(
                format!("DNS over TLS and HTTPS is off: {error}"),
                "correct dns.tls, or let the gateway's account read the files; then systemctl restart sheshi-gateway",
            );
            Ok((start(Settings { secure: None, ..settings }, directory)?, Some(trouble)))
        }
        started => Ok((started?, None)),
    }
}

/// What is wrong with upstreams, when something is: others carry on, and where there are none, names that are not cached fail.
pub fn upstream_trouble(resolver: &Handle) -> Option<Trouble> {
    let health = resolver.upstreams();
    let ill: Vec<_> = health
        .iter()
        .filter_map(|health| health.trouble.as_ref().map(|why| format!("{}: {why}", health.upstream)))
        .collect();
    let fix = match ill.len() {
        0 => return None,
        count if count < health.len() => "the others carry on; remove it from dns.upstreams if it is gone for good",
        _ => "see that the uplink lets it out, and that name, ca or pin in dns.upstreams are right",
    };
    Some(Trouble::new(format!("upstreams do not answer: {}", ill.join("; ")), fix))
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

/// The encrypted listeners, when a certificate is given.
fn secure(args: &ResolveArgs) -> Option<Secure> {
    Some(Secure {
        tls: args.listen_tls.clone(),
        https: args.listen_https.clone(),
        certificate: args.certificate.clone()?,
        key: args.key.clone()?,
        name: args.name.clone(),
    })
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
        secure: secure(args),
        upstreams: args.upstream.clone(),
        threads: usize::from(args.threads),
        cache_bytes: (args.cache as usize) << 20,
        limits: Limits { rate, ..Limits::single_client() },
        ..Settings::default()
    };
    let policy = Arc::new(ArcSwap::from_pointee(compiled));
    let handle =
        sheshi_resolver::start(settings, policy, Clients::Everyone { group: None }, clock()).map_err(failed)?;
    for (how, addresses) in
        [("", handle.addresses()), (" over TLS", handle.tls_addresses()), (" over HTTPS", handle.https_addresses())]
    {
        for address in addresses {
            tracing::info!("answering{how} on {address}");
        }
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
