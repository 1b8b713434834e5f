//! `sheshi guest`: the synthetic guest, a process of its own that joins a guest network as a phone does.
//!
//! It makes a network namespace, lays a `cable` from it to the guests' bridge, and gives up the rights for that before it
//! reads the first byte of any network. Then it joins (`dhcp`, `routers`) and does what the gateway asks over a Unix
//! socket (`deeds`): it sends and says what it saw, and judges nothing. Until the gateway first speaks, after a boot, it
//! keeps a `watch` for anything that is answered too early.

mod cable;
mod deeds;
mod dhcp;
mod routers;
mod watch;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        net::UnixListener,
    },
    path::Path,
    time::Duration,
};

use sheshi_policy::Mac;

use crate::{
    commands::{Failure, failed},
    config::{self, Config},
    probe::wire::{self, Ask, Joined, Told},
};

/// The device of the guest in its own namespace.
const DEVICE: &str = "eth0";
/// How long joining may take.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// `sheshi guest`.
pub fn run(path: &Path) -> Result<(), Failure> {
    let config = config::load(path)?;
    let socket = config.guest_socket();
    // Before the rights are gone; and a predecessor's is in the way.
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).map_err(|error| failed(format!("{}: {error}", socket.display())))?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    // The gateway asks, under the account that owns the folder; where we may not give the socket away, it is ours already.
    if let Ok(owner) = fs::metadata(&config.run) {
        let _ = chown(&socket, Some(owner.uid()), Some(owner.gid()));
    }
    let mac = mac(&config).map_err(|error| failed(format!("the guest's link-layer address: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime
        .block_on(cable::lay(&config.network.guests, DEVICE, mac))
        .map_err(|error| failed(format!("laying a cable to {}: {error}", config.network.guests)))?;
    cable::give_up_rights().map_err(|error| failed(format!("giving up rights: {error}")))?;
    tracing::info!("the synthetic guest is on {}", config.network.guests);
    crate::notify::say("READY=1");

    let watch = watch::Watch::start(watch::Marks::of(&config));
    let mut guest = Guest { mac, runtime, handle, joined: None };
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let Ok(Some(asked)) = wire::hear::<Ask>(&stream) else { continue };
        let mut told = guest.answer(asked);
        if let Told::Joined(joined) = &mut told {
            joined.watch = watch.end();
        }
        // Who went away while we worked needs no answer.
        let _ = wire::say(&stream, &told);
    }
    Ok(())
}

struct Guest {
    mac: Mac,
    runtime: tokio::runtime::Runtime,
    handle: cable::Handle,
    joined: Option<dhcp::Held>,
}

impl Guest {
    fn answer(&mut self, asked: Ask) -> Told {
        match asked {
            Ask::Join { afresh } => Told::Joined(self.join(afresh)),
            Ask::Routers { within_ms } => match routers::listen(DEVICE, Duration::from_millis(within_ms.min(20_000))) {
                Ok(routers) => Told::Routers(routers),
                Err(error) => Told::Failed(format!("listening for routers: {error}")),
            },
            Ask::Do(deeds) => Told::Saw(deeds::all(&deeds)),
        }
    }

    fn join(&mut self, afresh: bool) -> Joined {
        let mut joined = Joined { mac: Some(self.mac), ..Joined::default() };
        if afresh || self.joined.as_ref().is_none_or(dhcp::Held::is_half_over) {
            match dhcp::obtain(DEVICE, self.mac, JOIN_WITHIN) {
                Ok(held) => {
                    let applied = self.runtime.block_on(self.handle.take(&held.lease));
                    joined.trouble = applied.err().map(|error| format!("taking the address: {error}"));
                    self.joined = Some(held);
                }
                Err(error) => {
                    joined.trouble = Some(format!("asking for an address: {error}"));
                    self.joined = self.joined.take().filter(|held| !held.is_over());
                }
            }
        }
        joined.lease = self.joined.as_ref().map(|held| held.lease.clone());
        joined.v6 = cable::global_v6(DEVICE);
        joined
    }
}

/// The same device after each start, so that restarts do not fill the pool; another after each boot, as phones have it.
fn mac(config: &Config) -> std::io::Result<Mac> {
    let path = config.run.join("guest.mac");
    if let Some(mac) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(mac);
    }
    let mut octets = [0; 6];
    getrandom::fill(&mut octets).map_err(std::io::Error::other)?;
    // Locally administered, of one device.
    octets[0] = octets[0] & 0xfc | 0x02;
    let mac = Mac(octets);
    fs::write(&path, mac.to_string())?;
    Ok(mac)
}
