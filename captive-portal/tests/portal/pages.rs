//! Every page in every language: small, whole, escaped, and the same for whoever asks.

use std::{fs, path::PathBuf};

use crate::hotspot::{Answer, Hotspot, NAME};

const LANGUAGES: [&str; 12] = ["sq", "en", "it", "de", "fr", "es", "pt", "el", "mk", "sr", "tr", "ar"];

/// All pages in a language, by name.
async fn all(language: &str, change: impl Fn(&mut sheshi_captive_portal::Settings)) -> Vec<(&'static str, Answer)> {
    let hotspot = Hotspot::with(|settings| {
        settings.limits.sessions = 1;
        change(settings);
    })
    .await;
    let get = |n, host: &'static str, path: String| {
        let hotspot = &hotspot;
        async move { hotspot.get_in(n, language, host, &path).await }
    };
    let wanted = get(2, "news.example", "/a?b=c".into()).await.header("location").unwrap().to_owned();
    let wanted = wanted.strip_prefix(&format!("http://{NAME}")).unwrap().to_owned();
    let mut pages =
        vec![("terms", get(2, NAME, "/".into()).await), ("terms-wanted", get(2, NAME, wanted.clone()).await)];
    hotspot.portal.set_uplink(false);
    pages.push(("terms-no-uplink", get(2, NAME, "/".into()).await));
    hotspot.portal.set_uplink(true);
    let gated = Hotspot::with(|settings| {
        settings.access = sheshi_captive_portal::Access::Code;
        settings.hours = vec!["mon-fri 08:00-12:00".into()];
        settings.zone = Some("Europe/Tirane".into());
        change(settings);
    })
    .await;
    pages.push(("code", gated.get_in(2, language, NAME, "/?code=%3Cb%3E").await));
    gated.clock.forward(std::time::Duration::from_secs(3 * 3600));
    pages.push(("closed", gated.get_in(2, language, NAME, "/").await));
    pages.push(("left", get(2, NAME, "/?left=1".into()).await));
    pages.push(("stale", hotspot.post(2, "/accept", &format!("token=00&lang={language}")).await));
    pages.push(("unknown-device", get(250, NAME, "/".into()).await));
    let sign_in = format!("Accept-Language: {language}\r\n");
    pages.push(("sign-in", hotspot.request(2, "POST", "news.example", "/", &sign_in, "a=b").await));
    pages.push(("not-found", get(2, NAME, "/nothing".into()).await));
    pages.push(("bad-request", get(2, "a b", "/".into()).await));
    hotspot.accept(2).await;
    let token = get(3, NAME, "/".into()).await.field("token");
    pages.push(("full", hotspot.post(3, "/accept", &format!("token={token}&lang={language}")).await));
    pages.push(("status", get(2, NAME, "/".into()).await));
    pages.push(("terms-again", get(2, NAME, "/terms".into()).await));
    pages.push(("welcome", get(2, NAME, "/welcome".into()).await));
    pages.push(("welcome-wanted", get(2, NAME, format!("/welcome{}", &wanted[1..])).await));
    pages.push(("opening", get(2, "news.example", "/a?b=c".into()).await));
    pages.push(("filter", get(2, NAME, "/filter".into()).await));
    let body = format!("lang={language}&name=www.casino.example");
    pages.push(("filter-blocked", hotspot.post(2, "/filter", &body).await));
    pages.push(("filter-open", hotspot.post(2, "/filter", &format!("lang={language}&name=example.org")).await));
    pages.push(("objection", get(2, NAME, "/objection?name=www.casino.example".into()).await));
    let token = get(2, NAME, "/objection".into()).await.field("token");
    let body = format!("token={token}&lang={language}&name=www.casino.example&text=%3Cimg%3E");
    pages.push(("objection-sent", hotspot.post(2, "/objection", &body).await));
    pages.push(("blocked", get(2, "www.casino.example", "/".into()).await));
    pages.push(("blocked-order", get(2, "ordered.example", "/".into()).await));
    pages.push(("blocked-abuse", get(2, "abuse.example", "/".into()).await));
    pages
}

#[tokio::test]
async fn every_page_in_every_language_is_small_and_whole() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&folder).unwrap();
    for language in LANGUAGES {
        for (name, page) in all(language, |_| ()).await {
            let case = format!("{name} {language}");
            fs::write(folder.join(format!("{name}.{language}.html")), &page.body).unwrap();
            assert!(page.body.len() < 30_000, "{case}: {} bytes", page.body.len());
            assert!(
                page.body.starts_with("<!DOCTYPE html>\n<html lang=\"") && page.body.ends_with("</html>"),
                "{case}"
            );
            assert!(!page.title().is_empty(), "{case}");
            assert!(page.body.contains(&format!("<html lang=\"{language}\"")), "{case}");
            if name == "full" {
                assert_eq!(page.status, 503, "{case}");
            }
            let direction = if language == "ar" { "rtl" } else { "ltr" };
            assert!(page.body.contains(&format!("<html lang=\"{language}\" dir=\"{direction}\">")), "{case}");
            assert!(!page.body.contains('{') || !page.body.split("</style>").nth(1).unwrap().contains('{'), "{case}");
            assert_eq!(page.body.matches("<h1>").count(), 1, "{case}");
            for forbidden in
                ["<script", "javascript:", "onload", "onclick", "<img", "@import", "url(", "<link", "Set-Cookie"]
            {
                assert!(!page.body.contains(forbidden), "{case}: {forbidden}");
            }
            for link in page.body.split("href=\"").skip(1).chain(page.body.split("action=\"").skip(1)) {
                let link = link.split('"').next().unwrap();
                let own = link == "mailto:wifi@tirana.example"
                    || link.starts_with("http://wifi.tirana.example/")
                    || link.starts_with('/')
                    || link.starts_with("http://news.example/");
                assert!(own, "{case}: {link}");
            }
            for (header, value) in [
                ("content-type", "text/html; charset=utf-8"),
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "same-origin"),
            ] {
                assert_eq!(page.header(header), Some(value), "{case}");
            }
            let policy = page.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{case}: {policy}");
            assert!(
                policy.ends_with("; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
                "{case}: {policy}"
            );
            assert_eq!(page.header("set-cookie"), None, "{case}");
        }
    }
}

#[tokio::test]
async fn page_is_in_the_guests_language_and_says_which() {
    for (language, word) in
        [("sq", "Çfarë ruhet"), ("en", "What is kept"), ("sq-AL,en;q=0.5", "Çfarë ruhet"), ("tlh", "Çfarë ruhet")]
    {
        let hotspot = Hotspot::new().await;
        let page = hotspot.get_in(2, language, NAME, "/").await;
        assert!(page.body.contains(word), "{language}");
        let code = if word == "What is kept" { "en" } else { "sq" };
        assert!(page.body.contains(&format!("<html lang=\"{code}\" dir=\"ltr\">")), "{language}");
        assert_eq!(page.header("content-language"), Some(code));
        assert_eq!(page.header("vary"), Some("Accept-Language"));
        // The switch is there, and works against the browser's own language.
        assert!(page.body.contains("href=\"/?lang=en\"") && page.body.contains("href=\"/?lang=sq\""));
        assert!(hotspot.get_in(2, language, NAME, "/?lang=en").await.body.contains("What is kept"));
    }
}

#[tokio::test]
async fn guest_reads_everything_before_accepting() {
    let hotspot = Hotspot::new().await;
    let page = hotspot.get_in(2, "en", NAME, "/").await;
    for text in [
        "Bashkia Tiranë",
        "Sheshi Skënderbej",
        "wifi@tirana.example",
        "Pornography and adult content",
        "Gambling",
        "Sexual abuse of children",
        "For 30 days",
        "Never: your name or the sites you visit.",
        "complain to the data protection authority",
        "You are online for 8 hours.",
        "Who breaks these terms may be disconnected.",
    ] {
        let at = page.body.find(text).unwrap_or_else(|| panic!("{text} is not on the page"));
        assert!(at < page.body.find("<button").unwrap(), "{text} comes after the button");
    }
}

#[tokio::test]
async fn block_page_says_what_and_why_and_where_to_object() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    let page = async |host| hotspot.get_in(2, "en", host, "/").await.body;
    let blocked = page("www.casino.example").await;
    for text in ["www.casino.example", "Gambling", "Bashkia Tiranë", "mailto:wifi@tirana.example", "is not recorded"] {
        assert!(blocked.contains(text), "{text}");
    }
    let ordered = page("ordered.example").await;
    assert!(ordered.contains("Legal order") && ordered.contains("No. 42"), "{ordered}");
    // The standard wording, and not the name: the page is no catalogue.
    let abuse = page("abuse.example").await;
    assert!(abuse.contains("may contain indecent images of children as identified by the Internet Watch Foundation."));
    assert!(!abuse.contains("abuse.example"));
}

#[tokio::test]
async fn category_without_a_list_is_not_said_to_be_blocked() {
    let hotspot = Hotspot::new().await;
    let page = hotspot.get_in(2, "en", NAME, "/").await;
    assert!(page.body.contains("<li>Gambling</li>") && page.body.contains("<li>What a legal order forbids</li>"));
    assert!(!page.body.contains("<li>Terrorist content</li>"));
}

#[tokio::test]
async fn nothing_an_admin_or_guest_writes_becomes_markup() {
    const EVIL: &str = "<img src=x onerror=alert(1)>\"'&{}";
    for language in LANGUAGES {
        let pages = all(language, |settings| {
            for text in [&mut settings.organisation, &mut settings.venue, &mut settings.contact] {
                *text = EVIL.into();
            }
            settings.authority = Some(EVIL.into());
            settings.helpline = Some(EVIL.into());
            settings.terms.insert(language.into(), EVIL.into());
        })
        .await;
        for (name, page) in pages {
            assert!(!page.body.contains("<img"), "{name} {language}");
            assert!(!page.body.contains("x onerror=alert(1)>"), "{name} {language}");
            assert!(page.body.contains("&#60;img src=x"), "{name} {language}: the positive control");
        }
    }
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    for n in [2, 3] {
        for path in ["/?to=\"><img>&lang=<img>", "/welcome?to=http://x.example/<img>", "/<img>", "/?left=<img>"] {
            let path = path.replace('<', "%3C").replace('>', "%3E").replace('"', "%22");
            assert!(!hotspot.get(n, NAME, &path).await.body.contains("<img>"), "{path}");
        }
        for path in ["/%3Cimg%3E\"'", "/'\"onclick='x", "/?q=<img>"] {
            let answer = hotspot.get(n, "news.example", path).await;
            assert!(!answer.body.contains("<img>") && !answer.body.contains("\"'\""), "{path}: {}", answer.body);
        }
    }
}
