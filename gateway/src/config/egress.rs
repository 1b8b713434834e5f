//! The sections `[egress]` and `[garden]`: what the admitted do not reach, and what strangers do.

use std::path::Path;

use sheshi_firewall::{Network, Ways};
use sheshi_policy::read::Section;

use super::{parsed, reads};

/// Whether a way is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Allowed,
    Blocked,
}

impl std::str::FromStr for Way {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "allowed" => Ok(Self::Allowed),
            "blocked" => Ok(Self::Blocked),
            _ => Err(()),
        }
    }
}

pub(super) fn egress(section: &mut Section<'_, '_>, folder: &Path) -> Ways {
    let mut blocked = |key| parsed(section, key, "\"allowed\" or \"blocked\"") == Some(Way::Blocked);
    let (no_vpn, no_quic) = (blocked("vpn"), blocked("quic"));
    let list = section.text("tor").map(|field| folder.join(field.value));
    let tor = list.map(|path| relays(&path).map_err(|wrong| (path, wrong)));
    let tor = match tor {
        Some(Ok(tor)) => tor,
        Some(Err((path, wrong))) => {
            let wrong = format!("{}: {wrong}", path.display());
            section.tell("tor", wrong, "want a file with one address or network a line; `#` begins a comment");
            Vec::new()
        }
        None => Vec::new(),
    };
    Ways { no_vpn, no_quic, tor }
}

/// The addresses of a file. An empty one is refused: who names a file wants something closed.
fn relays(path: &Path) -> Result<Vec<Network>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut relays = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            relays.push(line.parse().map_err(|_| format!("line {}: {line:?} is no address", number + 1))?);
        }
    }
    if relays.is_empty() { Err("it names no address".into()) } else { Ok(relays) }
}

pub(super) fn garden(section: &mut Section<'_, '_>) -> Vec<String> {
    let want = "host names such as \"museum.example\"";
    let names: Vec<String> =
        section.list("names", reads(want)).into_iter().flatten().map(|field| field.value).collect();
    let mut good = Vec::new();
    for name in names {
        let lower = name.trim_end_matches('.').to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !lower.contains('.') || lower.len() > 253 || !lower.split('.').all(label) {
            section.tell("names", format!("{name:?} is no host name with a domain"), format!("want {want}"));
        } else if let Some(probe) =
            sheshi_captive_portal::probe_hosts().into_iter().find(|host| is_within(host, &lower))
        {
            // A system that reaches its probe believes to be online, and shows nobody the portal.
            section.tell("names", format!("{name:?} holds {probe}, which a system probes"), "want names beside it");
        } else {
            good.push(lower);
        }
    }
    good
}

/// Whether a name is another or below it, label by label.
fn is_within(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};

    fn with(sections: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tor.txt"), "# relays\n192.0.2.7\n2001:db8:7::/48 # a family\n").unwrap();
        std::fs::write(folder.path().join("empty.txt"), "# nothing\n").unwrap();
        std::fs::write(folder.path().join("page.txt"), "<html>\n").unwrap();
        let text = format!("{}\n{sections}", include_str!("../../../examples/gateway.toml"));
        config::parse(&text, &folder.path().join("gateway.toml")).map_err(|problems| problems.to_string())
    }

    #[test]
    fn ways_are_open_unless_they_are_closed_by_name() {
        assert_eq!(with("").unwrap().egress, Ways::default());
        let closed = with("[egress]\nvpn = \"blocked\"\nquic = \"allowed\"\ntor = \"tor.txt\"").unwrap().egress;
        assert!(closed.no_vpn && !closed.no_quic);
        assert_eq!(closed.tor.len(), 2);
        for wrong in
            ["vpn = \"yes\"", "tor = \"none.txt\"", "tor = \"empty.txt\"", "tor = \"page.txt\"", "vnp = \"blocked\""]
        {
            assert!(with(&format!("[egress]\n{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_that_a_system_probes_are_never_in_the_garden() {
        let names = |names: &str| with(&format!("[garden]\nnames = [{names}]"));
        assert_eq!(names("\"Museum.example.\"").unwrap().garden, ["museum.example"]);
        for probe in sheshi_captive_portal::probe_hosts() {
            assert!(names(&format!("\"{probe}\"")).unwrap_err().contains("probes"), "{probe}");
            let (_, parent) = probe.split_once('.').unwrap();
            assert!(names(&format!("\"{parent}\"")).is_err(), "{parent}");
        }
        // A name that only ends in the same letters is another name.
        assert!(names("\"e.example\", \"notapple.com\"").is_ok());
        for wrong in ["\"example\"", "\"*.example.org\"", "\"a b.example\"", "\"\""] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
    }
}
