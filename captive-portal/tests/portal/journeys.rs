//! What people do with a real browser, and what each page is to who cannot see it or reads from the right. What a person
//! would see is saved to `out/screens`.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use base64::Engine;
use serde_json::{Value, json};
use sheshi_captive_portal::{Access, Batch};

use crate::{
    browser::{Browser, network},
    hotspot::{Hotspot, NAME, device},
};

/// axe-core 4.14.1 (Deque Systems, MPL-2.0), as its package on npm has it.
const AXE: &str = include_str!("../axe/axe.min.js");

async fn start(hotspot: &Hotspot, n: u16) -> Browser {
    Browser::start(network(hotspot, n, Arc::default()).await).await
}

impl Browser {
    async fn script(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    async fn write(&self, selector: &str, text: &str) {
        let found = self.ask("POST", "/element", json!({ "using": "css selector", "value": selector })).await;
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.ask("POST", &format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    async fn text(&self) -> String {
        self.script("return document.body.innerText").await.as_str().unwrap().to_owned()
    }

    async fn screenshot(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../out/screens");
        fs::create_dir_all(&folder).unwrap();
        let picture = self.ask("GET", "/screenshot", Value::Null).await;
        let picture = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
        fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// The rules of WCAG 2.2 AA and of good practice that the page breaks, and where.
    async fn broken(&self) -> Vec<String> {
        let run = "const done = arguments[arguments.length - 1];
            axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
                .then(found => done(found.violations.map(rule => rule.id + ': ' + rule.nodes.map(node => node.html).join(' '))),
                      error => done(['axe: ' + error]));";
        let script = format!("{AXE}\n{run}");
        let found = self.ask("POST", "/execute/async", json!({ "script": script, "args": [] })).await;
        found.as_array().unwrap().iter().map(|rule| rule.as_str().unwrap().to_owned()).collect()
    }

    async fn resize(&self, width: u32) {
        self.ask("POST", "/window/rect", json!({ "width": width, "height": 844 })).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axe_finds_nothing_on_any_page() {
    let hotspot = Hotspot::with(|settings| settings.access = Access::OpenOrCode).await;
    let closed = Hotspot::with(|settings| {
        settings.hours = vec!["sat 08:00-12:00".into()];
        settings.zone = Some("Europe/Tirane".into());
    })
    .await;
    hotspot.accept(3).await;
    let (stranger, guest, late) = (start(&hotspot, 2).await, start(&hotspot, 3).await, start(&closed, 4).await);
    let own = |path: &str| format!("http://{NAME}{path}");
    for language in ["en", "ar", "el"] {
        let pages = [
            (&stranger, "terms", own(&format!("/?lang={language}"))),
            (&stranger, "not-found", own("/nothing")),
            (&guest, "status", own(&format!("/?lang={language}"))),
            (&guest, "terms-again", own(&format!("/terms?lang={language}"))),
            (&guest, "welcome", own(&format!("/welcome?lang={language}"))),
            (&guest, "filter", own(&format!("/filter?lang={language}"))),
            (&guest, "objection", own(&format!("/objection?lang={language}&name=a.example&number=00000000"))),
            (&guest, "blocked", "http://www.casino.example/".to_owned()),
            (&guest, "blocked-order", "http://ordered.example/".to_owned()),
            (&guest, "blocked-abuse", "http://abuse.example/".to_owned()),
            (&late, "closed", own(&format!("/?lang={language}"))),
        ];
        for (browser, name, url) in pages {
            browser.go(&url).await;
            assert_eq!(browser.broken().await, [""; 0], "{name} {language}");
            // With the menus open too.
            browser.script("document.querySelectorAll('details').forEach(menu => menu.open = true)").await;
            assert_eq!(browser.broken().await, [""; 0], "{name} {language}, all open");
        }
        guest.go(&own(&format!("/filter?lang={language}"))).await;
        guest.write("#name", "www.casino.example").await;
        guest.press("main button").await;
        assert_eq!(guest.broken().await, [""; 0], "filter-blocked {language}");
        guest.screenshot(&format!("portal-filter-{language}")).await;
    }
    // The control: what is wrong is found.
    stranger.script("document.querySelector('main').insertAdjacentHTML('beforeend', '<input><img src=x>')").await;
    let broken = stranger.broken().await;
    assert!(broken.iter().any(|rule| rule.starts_with("label")), "{broken:?}");
    assert!(broken.iter().any(|rule| rule.starts_with("image-alt")), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_with_a_code_from_a_printed_page_gets_in() {
    let hotspot = Hotspot::with(|settings| settings.access = Access::Code).await;
    let batch = Batch { name: "desk".into(), group: None, seconds: 7200, devices: 1, valid_until: None };
    let code = hotspot.portal.new_vouchers(batch, 1).await.unwrap().remove(0);
    let browser = start(&hotspot, 2).await;
    browser.go(&format!("http://{NAME}/")).await;
    browser.write("#code", "0000-0000-0000").await;
    browser.press("button").await;
    assert!(browser.text().await.contains("This code does not work"));
    browser.screenshot("portal-code-wrong").await;
    assert!(!hotspot.kernel.has(device(2)));
    // What the QR code opens.
    browser.go(&format!("http://{NAME}/?code={code}")).await;
    browser.screenshot("portal-code").await;
    browser.press("button").await;
    browser.wait("You are online").await;
    assert!(hotspot.kernel.has(device(2)));
    browser.go(&format!("http://{NAME}/")).await;
    assert!(browser.text().await.contains("your code keeps the time that is left"));
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_objects_to_a_block_and_finds_the_answer() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    let browser = start(&hotspot, 2).await;
    browser.go("http://www.casino.example/").await;
    browser.wait("This page is blocked here").await;
    browser.screenshot("portal-blocked").await;
    browser.press("main a.button").await;
    browser.wait("Object to a block").await;
    browser.write("#text", "It is a chess club.").await;
    browser.press("main button").await;
    let text = browser.text().await;
    let number = text.split("Its number is ").nth(1).unwrap_or_else(|| panic!("{text}")).split(';').next().unwrap();
    browser.screenshot("portal-objection").await;
    assert_eq!(hotspot.portal.objections()[0].name, "www.casino.example");
    hotspot.portal.decide(number, false, "It takes bets.").unwrap();
    browser.go(&format!("http://{NAME}/objection")).await;
    browser.write("#number", number).await;
    browser.press("button.quiet").await;
    let text = browser.text().await;
    assert!(text.contains("Decided: the block stays.") && text.contains("It takes bets."), "{text}");
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_is_back_at_the_terms_when_the_session_is_over() {
    let hotspot = Hotspot::new().await;
    let browser = start(&hotspot, 2).await;
    browser.go(&format!("http://{NAME}/")).await;
    browser.press("form.accept button").await;
    browser.wait("You are online").await;
    hotspot.clock.forward(Duration::from_secs(8 * 3600));
    hotspot.portal.tick().await;
    browser.go("http://news.example/a").await;
    browser.wait("Welcome").await;
    assert!(!hotspot.kernel.has(device(2)));
    browser.screenshot("portal-expired").await;
    assert!(browser.text().await.contains("Then you continue to news.example."));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arabic_is_laid_out_from_the_right_and_no_language_overflows_a_small_screen() {
    let hotspot = Hotspot::new().await;
    let browser = start(&hotspot, 2).await;
    browser.resize(500).await;
    let left_of_mark = "return document.querySelector('.mark').getBoundingClientRect().left
        - document.querySelector('.who').getBoundingClientRect().left";
    browser.go(&format!("http://{NAME}/?lang=ar")).await;
    assert!(browser.script(left_of_mark).await.as_f64().unwrap() > 0.0, "the mark stands on the right");
    let direction = "return getComputedStyle(document.querySelector('p.lead')).direction";
    assert_eq!(browser.script(direction).await, "rtl");
    browser.screenshot("portal-terms-ar").await;
    browser.go(&format!("http://{NAME}/filter?lang=ar")).await;
    let input = "return getComputedStyle(document.querySelector('#name')).direction";
    assert_eq!(browser.script(input).await, "ltr", "a site's name is written from the left");
    browser.go(&format!("http://{NAME}/?lang=en")).await;
    assert!(browser.script(left_of_mark).await.as_f64().unwrap() < 0.0, "the control");

    // WCAG 2.2 success criterion 1.4.10: at 320 CSS pixels nothing is scrolled sideways.
    for language in ["sq", "en", "it", "de", "fr", "es", "pt", "el", "mk", "sr", "tr", "ar"] {
        for path in ["/", "/filter", "/objection"] {
            browser.go(&format!("http://{NAME}{path}?lang={language}")).await;
            let script = "document.documentElement.style.width = '320px'; document.body.style.width = '320px';
                document.querySelectorAll('details').forEach(menu => menu.open = true);
                return Math.max(...Array.from(document.querySelectorAll('main *, header *, footer *'))
                    .map(element => element.getBoundingClientRect()).map(box => Math.round(box.width)))";
            let widest = browser.script(script).await.as_f64().unwrap();
            assert!(widest <= 320.0, "{path} {language}: {widest}");
        }
        browser.go(&format!("http://{NAME}/?lang={language}")).await;
        browser.screenshot(&format!("portal-terms-{language}")).await;
    }
}
