//! A list in any format: it is refused, or it gives entries of which none blocks what everybody needs, and which compile.

use std::{path::PathBuf, sync::LazyLock};

use sheshi_policy::{Compiled, Edition, Format, GroupId, Moment, Name, Policy, Source, Spec, compile};

/// By the first byte of an input.
const FORMATS: [Format; 12] = [
    Format::Auto,
    Format::Hosts,
    Format::Domains,
    Format::Adblock,
    Format::Dnsmasq,
    Format::Unbound,
    Format::Rpz,
    Format::Ut1,
    Format::Urls,
    Format::Regex,
    Format::Hashed,
    Format::Addresses,
];

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let text = "version = 1\n[list.a]\nfile = \"a\"\ncategory = \"adult\"\n[safe_search]\nengines = []\n";
    Spec::parse(text).and_then(|spec| spec.check()).expect("a good policy")
});

pub(crate) fn run(input: &[u8]) {
    let Some((format, text)) = input.split_first() else { return };
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let mut policy = POLICY.clone();
    policy.lists[0].format = format;
    policy.lists[0].source = Source::File(PathBuf::from("a"));
    let key = (format == Format::Hashed).then_some([7; 32]);
    let Ok(edition) = Edition::parse_parts(&policy.lists[0], &[(format, text)], key) else { return };
    assert!(edition.refused().values().sum::<u32>() as usize <= text.len(), "more refusals than there is text");
    let Ok(compiled) = compile(&policy, std::slice::from_ref(&edition), &mut |_| ()) else { return };
    let compiled = Compiled::from_bytes(compiled).expect("what we compiled we load");
    let view = compiled.view(GroupId(0), Moment::Unknown);
    // Whoever owns a registry owns no single name: no line may block a whole one. Patterns look for parts of names, and say so.
    if format != Format::Regex && !text.contains(&b'/') && !text.contains(&b'*') {
        for suffix in ["com", "co.uk", "gov.al", "org"] {
            let name = Name::parse(suffix).expect("a name").wire();
            assert!(!compiled.decide(&name, &view).is_block(), "{suffix} is blocked as a whole");
        }
    }
    for name in ["www.example.com", "a.b.c.d.example.org", "localhost"] {
        let name = Name::parse(name).expect("a name").wire();
        let verdict = compiled.decide(&name, &view);
        let told = compiled.explain(&name, GroupId(0), Moment::Unknown);
        assert_eq!(told.rule, verdict.reason.rule, "what is explained is what is done");
    }
    compiled.decide_address("192.0.2.1".parse().expect("an address"), &view);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts: [&str; 12] = [
        "# a list\nads.example.com\n*.tracker.example.org\n",
        "127.0.0.1 localhost\n0.0.0.0 ads.example.com www.example.com # both\n::1 ip6-localhost\n",
        "example.com\n*.example.org\n.dot.example.net\nxn--mnchen-3ya.example\nmünchen.example\ncom\nco.uk\n",
        "[Adblock Plus 2.0]\n||ads.example.com^\n@@||good.example.com^$important\n||x.example^$denyallow=y.x.example\n\
         ||t.example^$dnstype=AAAA\n||r.example^$dnsrewrite=NXDOMAIN\n/^ad[0-9]+\\.example$/\n|https://u.example/p\n\
         example.com##.ad\n-banner-\n",
        "address=/ads.example.com/0.0.0.0\nserver=/x.example/\naddress=/#/1.2.3.4\nlocal=/y.example/\n",
        "server:\n  local-zone: \"ads.example.com\" always_nxdomain\n  local-data: \"x.example A 0.0.0.0\"\n",
        "$TTL 300\n@ SOA ns. root. 1 2 3 4 5\n  NS ns.\nads.example.com CNAME .\n*.ads.example.com CNAME .\n\
         good.example CNAME rpz-passthru.\nx.example CNAME *.\n32.1.2.0.192.rpz-ip CNAME .\n",
        "ads.example.com\nwww.example.org\n",
        "http://example.com/path\nexample.org\n",
        "^ads?[0-9]*\\.\n(a|b)c+\\.example\\.com$\n.*\n",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
        "192.0.2.0/24\n2001:db8::/32\n198.51.100.7 # one\n0.0.0.0/0\n",
    ];
    let by_format = texts.iter().enumerate().map(|(format, text)| [&[format as u8], text.as_bytes()].concat());
    by_format.chain(texts.iter().map(|text| [&[0], text.as_bytes()].concat())).collect()
}
