//! Each format with the lines it takes and those it refuses.

use super::*;
use crate::{Category, Source};

fn list(format: Format) -> List {
    List {
        name: "test".into(),
        category: Some(Category(0)),
        source: Source::File("test.txt".into()),
        format,
        subdomains: true,
        key_file: None,
        must_block: Vec::new(),
        must_allow: Vec::new(),
        max_age: 1,
        every: 1,
        private_addresses: false,
        licence: "".into(),
    }
}

/// Entries as `+name` listed, `!` important, `-` spared, `|` stopped; `=` before exact ones, `*.` before those for what
/// is below.
fn entries(edition: &Edition) -> Vec<String> {
    let entry = |(name, entry): (&[u8], Entry)| {
        let kind = match entry.kind {
            Kind::Listed => '+',
            Kind::Important => '!',
            Kind::Spared => '-',
            Kind::Stopped => '|',
        };
        let scope = match entry.scope {
            Scope::Tree => "",
            Scope::Exact => "=",
            Scope::Below => "*.",
        };
        format!("{kind}{scope}{}", name::dotted(name))
    };
    edition.names().map(entry).collect()
}

/// What a line gives: entries, patterns as `/…/`, or the reason of its refusal in parentheses.
fn line(format: Format, text: &str) -> String {
    let edition = Edition::parse(&list(format), text.as_bytes()).unwrap();
    let mut given = entries(&edition);
    given.extend(edition.patterns.iter().map(|(regex, _)| format!("/{regex}/")));
    given.extend(edition.networks.iter().map(|(network, _)| network.to_string()));
    given.extend(edition.refused_lines().iter().map(|(_, why)| format!("({why:?})")));
    given.join(" ")
}

fn table(format: Format, rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(line(format, text), *expected, "{text}");
    }
}

#[test]
fn names_are_taken_as_lists_of_names_write_them() {
    table(
        Format::Domains,
        &[
            ("Bad.Example", "+bad.example"),
            ("*.bad.example", "+*.bad.example"),
            (".bad.example", "+bad.example"),
            ("bad.example # why", "+bad.example"),
            ("bad.example.", "+bad.example"),
            ("münchen.example", "+xn--mnchen-3ya.example"),
            ("https://bad.example/", "+bad.example"),
            ("https://bad.example/page", "(Url)"),
            ("bad.example/page", "(Url)"),
            ("com", "(PublicSuffix)"),
            ("co.uk", "(PublicSuffix)"),
            ("*.co.uk", "(PublicSuffix)"),
            ("github.io", "(PublicSuffix)"),
            ("me.github.io", "+me.github.io"),
            ("*", "(Character)"),
            (".", "(Special)"),
            ("localhost", "(Special)"),
            ("printer.local", "(Special)"),
            ("1.0.168.192.in-addr.arpa", "(Special)"),
            ("192.0.2.1", "(Address)"),
            ("2001:db8::1", "(Address)"),
            ("bad..example", "(Length)"),
            ("b*d.example", "(Character)"),
            ("bad example", "(Character)"),
            ("bad.example:8080", "(Character)"),
        ],
    );
    assert_eq!(line(Format::Domains, &format!("{}.example", "a".repeat(64))), "(Length)");
    assert_eq!(line(Format::Domains, "# a\n; b\n! c\n\n \r\nbad.example\r"), "+bad.example");
}

#[test]
fn hosts_lines_block_and_never_redirect() {
    table(
        Format::Hosts,
        &[
            ("0.0.0.0 bad.example", "+bad.example"),
            ("127.0.0.1\tbad.example www.bad.example # both", "+bad.example +www.bad.example"),
            ("::1 bad.example", "+bad.example"),
            ("192.0.2.7 bank.example", "(Redirect)"),
            ("127.0.0.1 localhost", "(Special)"),
            ("255.255.255.255 broadcasthost", "(Special)"),
            ("fe80::1%lo0 localhost", "(Malformed)"),
            ("ff02::1 ip6-allnodes", "(Special)"),
            ("0.0.0.0 0.0.0.0", "(Address)"),
            ("0.0.0.0", "(Address)"),
            ("0.0.0.0 com", "(PublicSuffix)"),
            ("bad.example", "+bad.example"),
            ("# 0.0.0.0 good.example", ""),
        ],
    );
    let mut exact = list(Format::Hosts);
    exact.subdomains = false;
    assert_eq!(entries(&Edition::parse(&exact, b"0.0.0.0 bad.example").unwrap()), ["+=bad.example"]);
}

#[test]
fn adblock_rules_are_honoured_as_far_as_a_resolver_can() {
    table(
        Format::Adblock,
        &[
            ("||bad.example^", "+bad.example"),
            ("||bad.example^|", "+bad.example"),
            ("||bad.example", "+bad.example"),
            ("||*.bad.example^", "+*.bad.example"),
            ("|bad.example^", "+=bad.example"),
            ("|https://bad.example/", "+=bad.example"),
            ("bad.example", "+bad.example"),
            ("@@||good.bad.example^", "-good.bad.example"),
            ("@@||com^", "-com"),
            ("||bad.example^$important", "!bad.example"),
            ("||bad.example^$all", "+bad.example"),
            ("||bad.example^$denyallow=a.bad.example|b.bad.example", "+bad.example |a.bad.example |b.bad.example"),
            ("||bad.example^$dnsrewrite=NXDOMAIN;;", "+bad.example"),
            ("||bad.example^$dnsrewrite=0.0.0.0", "+bad.example"),
            ("||bad.example^$dnsrewrite=NOERROR;A;192.0.2.1", "(Redirect)"),
            ("||bad.example^$dnstype=AAAA", "(Modifier)"),
            ("||bad.example^$third-party", "(Modifier)"),
            ("||bad.example^$client=1.2.3.4", "(Modifier)"),
            ("||bad.example^$badfilter", "(Modifier)"),
            ("||ads*.bad.example^", r"/(?:^|\.)ads.*\.bad\.example$/"),
            ("||bad.example/path^", "(Url)"),
            ("||bad.example:8080^", "(Url)"),
            ("||co.uk^", "(PublicSuffix)"),
            ("||192.0.2.1^", "(Address)"),
            ("||*^", "(Loose)"),
            ("||*", "(Loose)"),
            ("example.com##.banner", "(Cosmetic)"),
            ("/^bad[0-9]+\\.example$/", "/^bad[0-9]+\\.example$/"),
            ("/bad/$important", "(Modifier)"),
            ("@@/bad/", "(Modifier)"),
            ("/(?=bad)/", "(Expression)"),
            ("/.*/", "(Loose)"),
            ("0.0.0.0 bad.example", "+bad.example"),
            ("! comment", ""),
            ("[Adblock Plus 2.0]", ""),
            ("# comment", ""),
        ],
    );
}

#[test]
fn configuration_of_dnsmasq_and_unbound_is_read() {
    table(
        Format::Dnsmasq,
        &[
            ("address=/bad.example/", "+bad.example"),
            ("address=/bad.example/worse.example/0.0.0.0", "+bad.example +worse.example"),
            ("address=/bad.example/::", "+bad.example"),
            ("address=/bad.example/#", "+bad.example"),
            ("server=/bad.example/", "+bad.example"),
            ("local=/*.bad.example/", "+*.bad.example"),
            ("server=/good.example/#", "-good.example"),
            ("server=/x.example/192.0.2.1", "(Redirect)"),
            ("address=/x.example/192.0.2.1", "(Redirect)"),
            ("address=/com/", "(PublicSuffix)"),
            ("address=/#/", "(Character)"),
            ("cache-size=150", "(Malformed)"),
        ],
    );
    table(
        Format::Unbound,
        &[
            ("local-zone: \"bad.example\" always_nxdomain", "+bad.example"),
            ("local-zone: bad.example. static", "+bad.example"),
            ("local-zone: \"good.example\" always_transparent", "-good.example"),
            ("local-zone: \"x.example\" transparent", "(Modifier)"),
            ("local-data: \"bad.example A 0.0.0.0\"", "+=bad.example"),
            ("local-data: \"bad.example 60 IN AAAA ::\"", "+=bad.example"),
            ("local-data: \"bad.example A 192.0.2.1\"", "(Redirect)"),
            ("server:", ""),
            ("forward-zone:", "(Malformed)"),
        ],
    );
}

#[test]
fn response_policy_zone_is_read() {
    let zone = r#"
$TTL 60
$ORIGIN rpz.example.
@ SOA localhost. root.localhost. (
    1 ; serial
    3600 600 86400 60 )
  NS localhost.
bad.com CNAME .
*.bad.com CNAME .
nodata.com 60 IN CNAME *.
drop.com CNAME rpz-drop.
good.com CNAME rpz-passthru.
own.com CNAME own.com.
page.com A 192.0.2.1
         AAAA 2001:db8::1
garden.com CNAME garden.example.net.
absolute.com.rpz.example. CNAME .
tcp.com CNAME rpz-tcp-only.
32.1.2.0.192.rpz-ip CNAME .
ns.bad.com.rpz-nsdname CNAME .
com CNAME .
text.com TXT "x"
elsewhere.example.net. CNAME .
"#;
    let edition = Edition::parse(&list(Format::Auto), zone.as_bytes()).unwrap();
    assert_eq!(edition.format(), Format::Rpz);
    let expected = "+=bad.com +*.bad.com +=nodata.com +=drop.com -=good.com -=own.com +=page.com +=page.com +=garden.com +=absolute.com";
    assert_eq!(entries(&edition).join(" "), expected);
    let refused: Vec<_> = edition.refused_lines().iter().map(|(_, why)| *why).collect();
    let expected = [
        Refusal::Modifier,
        Refusal::Trigger,
        Refusal::Trigger,
        Refusal::PublicSuffix,
        Refusal::Redirect,
        Refusal::Malformed,
    ];
    assert_eq!(refused, expected);
}

#[test]
fn addresses_are_read_and_too_wide_ones_refused() {
    table(
        Format::Addresses,
        &[
            ("192.0.2.0/24 # why", "192.0.2.0/24"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("0.0.0.0/0", "(Loose)"),
            ("2000::/3", "(Loose)"),
            ("bad.example", "(Malformed)"),
        ],
    );
}

#[test]
fn format_is_found_out() {
    for (text, expected) in [
        ("# x\n0.0.0.0 a.example\n0.0.0.0 b.example\n", Format::Hosts),
        ("a.example\nb.example\n", Format::Domains),
        ("*.a.example\nb.example\n", Format::Domains),
        ("! Title: x\n||a.example^\n", Format::Adblock),
        ("[Adblock Plus 2.0]\n@@||a.example^\n", Format::Adblock),
        ("address=/a.example/\n", Format::Dnsmasq),
        ("server:\nlocal-zone: \"a.example\" static\n", Format::Unbound),
        ("$TTL 60\na.example CNAME .\n", Format::Rpz),
        ("(^|\\.)a[0-9]+\\.example$\n", Format::Regex),
        ("192.0.2.1\n198.51.100.0/24\n", Format::Addresses),
        (&"0123456789abcdef".repeat(4), Format::Hashed),
        ("a.example/page\nb.example/x?y=1\n", Format::Domains),
    ] {
        assert_eq!(detect::format(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn body_that_is_no_list_is_refused() {
    let parse = |body: &[u8]| Edition::parse(&list(Format::Auto), body).err();
    for (body, expected) in [
        (&b""[..], NotAList::Empty),
        (b" \r\n\n", NotAList::Empty),
        (b"<!DOCTYPE html>\n<html><body>404", NotAList::Html),
        (b"\xef\xbb\xbf\n <HTML lang=en>", NotAList::Html),
        (b"<?xml version='1.0'?><error/>", NotAList::Html),
        (b"\x1f\x8b\x08\x00abc", NotAList::Binary),
        (b"PK\x03\x04abc", NotAList::Binary),
        (b"bad.example\n\0\0\0\n", NotAList::Binary),
        (b"\x01\x02\x03\x04\x05\x06\x07bad", NotAList::Binary),
    ] {
        assert_eq!(parse(body), Some(expected), "{body:?}");
    }
    assert_eq!(Edition::parse(&list(Format::Hashed), "ab".repeat(32).as_bytes()).err(), Some(NotAList::NoKey));
    assert_eq!(parse(b"\xef\xbb\xbfbad.example\n"), None);
}

#[test]
fn line_that_is_not_text_is_counted_and_the_rest_taken() {
    let edition = Edition::parse(&list(Format::Domains), b"bad.example\nb\xe4d.example\nworse.example\n").unwrap();
    assert_eq!(entries(&edition), ["+bad.example", "+worse.example"]);
    assert_eq!(edition.refused()[&Refusal::Character], 1);
}

#[test]
fn sentinels_see_what_a_list_blocks_by_itself() {
    let text =
        "||bad.example^\n@@||good.bad.example^\n||worse.example^$denyallow=b.worse.example\n/^xx[0-9]+\\.test$/\n";
    let edition = Edition::parse(&list(Format::Adblock), text.as_bytes()).unwrap();
    for (name, expected) in [
        ("bad.example", true),
        ("www.bad.example", true),
        ("notbad.example", false),
        ("good.bad.example", false),
        ("a.worse.example", true),
        ("x.b.worse.example", false),
        ("xx42.test", true),
        ("example", false),
    ] {
        assert_eq!(edition.lists(&Name::parse(name).unwrap()), expected, "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn no_body_makes_the_parser_fail_or_block_a_public_suffix(lines in proptest::collection::vec(".{0,40}", 0..20), format in 0usize..8) {
        let formats = [
            Format::Auto, Format::Hosts, Format::Domains, Format::Adblock,
            Format::Dnsmasq, Format::Unbound, Format::Rpz, Format::Regex,
        ];
        if let Ok(edition) = Edition::parse(&list(formats[format]), lines.join("\n").as_bytes()) {
            for name in ["com", "co.uk", "al", "localhost", "arpa"] {
                let name = Name::parse(name).unwrap();
                let listed = edition.names().any(|(listed, entry)| {
                    listed == name.labels() && matches!(entry.kind, Kind::Listed | Kind::Important)
                });
                proptest::prop_assert!(!listed);
            }
        }
    }
}
