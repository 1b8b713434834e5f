//! Which domain a name belongs to: the one somebody has registered.

use psl::Type;

/// The part of `name` that somebody has registered, such as `example.co.uk` of `a.b.example.co.uk`: the public suffix and one label
/// more. All of `name` when it is a public suffix itself or not in uncompressed, lower-case wire form.
///
/// Only suffixes that registries run count. What a company offers below its own domain (`github.io`) is that company's domain: who
/// runs such a suffix answers for every name below it.
pub fn registrable(name: &[u8]) -> &[u8] {
    let mut space = [0; 256];
    let Some(text) = text(name, &mut space) else { return name };
    let mut suffix = psl::suffix(text);
    // A company's suffix lies below a registry's: the labels in front are left out until that is found.
    while let Some(private) = suffix.filter(|suffix| suffix.typ() == Some(Type::Private)) {
        let inner = private.as_bytes();
        let Some(dot) = inner.iter().position(|octet| *octet == b'.') else { break };
        suffix = psl::suffix(&text[text.len() - (inner.len() - dot - 1)..]);
    }
    let Some(suffix) = suffix else { return name };
    // Behind the suffix in wire form comes the root, before it the octet of its first label's length.
    let start = name.len().saturating_sub(suffix.as_bytes().len() + 2);
    let (mut at, mut before) = (0, 0);
    while at < start {
        before = at;
        at += 1 + usize::from(name[at]);
    }
    &name[before..]
}

/// The labels with dots between them; `None` for the root and for what is no name.
fn text<'s>(name: &[u8], space: &'s mut [u8; 256]) -> Option<&'s [u8]> {
    let labels = name.len().checked_sub(1).filter(|labels| (2..=254).contains(labels))?;
    let text = &mut space[..labels - 1];
    text.copy_from_slice(&name[1..labels]);
    let mut at = 0;
    while at < labels {
        if at > 0 {
            text[at - 1] = b'.';
        }
        at += 1 + usize::from(name[at]);
    }
    (at == labels && name[at] == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    #[test]
    fn domain_is_what_somebody_registered() {
        for (name, domain) in [
            ("a.b.example.com", "example.com"),
            ("example.com", "example.com"),
            ("com", "com"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("a.b.c.github.io", "github.io"),
            ("x.s3.eu-west-1.amazonaws.com", "amazonaws.com"),
            ("x.tunnel.notregistered", "tunnel.notregistered"),
            ("4.3.2.1.in-addr.arpa", "1.in-addr.arpa"),
        ] {
            let (name, domain) = (Name::parse(name).unwrap().wire(), Name::parse(domain).unwrap().wire());
            assert_eq!(registrable(&name).escape_ascii().to_string(), domain.escape_ascii().to_string());
        }
        for odd in [&b"\0"[..], b"", b"\x03ab\0", b"\x01a", &[1; 300]] {
            assert_eq!(registrable(odd), odd);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_it_fail(octets: Vec<u8>) {
            let domain = registrable(&octets);
            proptest::prop_assert!(octets.ends_with(domain));
        }
    }
}
