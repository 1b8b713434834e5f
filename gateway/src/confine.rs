//! The running gateway shuts itself in before it hears the first guest: it reads, writes its own folders, and starts no program.

use std::path::PathBuf;

use sheshi_firewall::sandbox::{self, Needs};

use crate::config::Config;

/// Shuts this thread in, and every thread that it starts. The folders that are written must be there.
pub fn enter(config: &Config) -> Result<(), sheshi_firewall::Error> {
    let mut write = vec![config.state.clone(), config.run.clone(), std::env::temp_dir(), "/dev/null".into()];
    write.extend(config.control.parent().map(PathBuf::from));
    // Lists, certificates and the policy are wherever the admin put them, and the account's rights guard what is nobody's to read.
    let needs = Needs {
        read: vec!["/".into()],
        write,
        start: Vec::new(),
        sockets: vec![nix::libc::AF_UNIX, nix::libc::AF_INET, nix::libc::AF_INET6, nix::libc::AF_NETLINK],
    };
    if !sandbox::enter(&needs)?.files {
        tracing::warn!(
            "this kernel has no Landlock (it is older than 5.13, or it is switched off): files are guarded by the unit only"
        );
    }
    Ok(())
}
