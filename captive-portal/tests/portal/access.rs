//! Who is admitted, for how long and into which group: codes, opening hours, tickets of other hotspots, the city's own devices.

use std::{fs, time::Duration};

use sheshi_captive_portal::{Access, Batch, Roaming, Settings};

use crate::hotspot::{Answer, Hotspot, NAME, device, source};

const HOUR: u64 = 3600;

fn batch(name: &str) -> Batch {
    Batch { name: name.into(), group: None, seconds: 7200, devices: 1, valid_until: None }
}

fn needs_code(settings: &mut Settings) {
    settings.access = Access::Code;
}

async fn bring(hotspot: &Hotspot, n: u16, code: &str) -> Answer {
    let page = hotspot.get_in(n, "en", NAME, "/terms").await;
    hotspot.post(n, "/accept", &format!("token={}&lang=en&code={code}", page.field("token"))).await
}

fn left(hotspot: &Hotspot, n: u16) -> u64 {
    hotspot
        .portal
        .sessions()
        .iter()
        .find(|session| session.mac == device(n))
        .map_or(0, |session| session.left.as_secs())
}

#[tokio::test]
async fn where_a_code_is_needed_nobody_is_admitted_without_one() {
    let hotspot = Hotspot::with(needs_code).await;
    let page = hotspot.get_in(2, "en", NAME, "/").await;
    assert!(page.body.contains("To go online here you need a code. Bashkia Tiranë gives it to you."));
    for code in ["", "%20", "0000-0000-0000", "'; DROP TABLE voucher; --"] {
        assert_eq!(bring(&hotspot, 2, code).await.status, 403, "{code}");
    }
    assert_eq!(hotspot.kernel.asked(), [""; 0]);
    let codes = hotspot.portal.new_vouchers(batch("desk"), 2).await.unwrap();
    assert_eq!(bring(&hotspot, 2, &codes[0].to_uppercase()).await.status, 303);
    assert!(hotspot.is_guest(2) && hotspot.kernel.has(device(2)));
    assert_eq!(left(&hotspot, 2), 2 * HOUR);
    // A code for one device admits no second one, and accepting again gives no more time.
    assert_eq!(bring(&hotspot, 3, &codes[0]).await.status, 403);
    assert!(!hotspot.is_guest(3) && !hotspot.kernel.has(device(3)));
    hotspot.clock.forward(Duration::from_secs(HOUR));
    bring(&hotspot, 2, "").await;
    assert_eq!(left(&hotspot, 2), HOUR);
    let state = &hotspot.portal.vouchers().await.unwrap()[0];
    assert_eq!((state.codes, state.used), (2, 1));
}

#[tokio::test]
async fn code_keeps_the_time_that_is_left_when_its_device_logs_out() {
    let mut hotspot = Hotspot::with(needs_code).await;
    let code = hotspot.portal.new_vouchers(batch("desk"), 1).await.unwrap().remove(0);
    bring(&hotspot, 2, &code).await;
    hotspot.clock.forward(Duration::from_secs(HOUR / 2));
    let status = hotspot.get_in(2, "en", NAME, "/").await;
    assert!(status.body.contains("your code keeps the time that is left"));
    hotspot.post(2, "/leave", &format!("token={}&lang=en", status.field("token"))).await;
    hotspot.clock.forward(Duration::from_secs(10 * HOUR));
    // Under another address, as after a pause with a phone that made itself a new one.
    assert_eq!(bring(&hotspot, 3, &code).await.status, 303);
    assert_eq!(left(&hotspot, 3), 3 * HOUR / 2);
    // After a power cut nobody remembers who it was, and the clock says what is left.
    hotspot.clock.forward(Duration::from_secs(HOUR / 2));
    fs::remove_dir_all(hotspot.folder.path().join("run")).unwrap();
    hotspot.kernel.set.lock().unwrap().clear();
    hotspot.restart().await;
    assert_eq!(bring(&hotspot, 4, &code).await.status, 303);
    assert_eq!(left(&hotspot, 4), HOUR);
    hotspot.clock.forward(Duration::from_secs(HOUR));
    hotspot.portal.tick().await;
    assert!(!hotspot.is_guest(4) && !hotspot.kernel.has(device(4)));
    assert_eq!(bring(&hotspot, 4, &code).await.status, 403);
}

#[tokio::test]
async fn code_for_many_admits_so_many_and_all_at_once_no_more() {
    let hotspot = Hotspot::with(needs_code).await;
    let many = Batch { devices: 5, ..batch("class") };
    let code = hotspot.portal.new_vouchers(many, 1).await.unwrap().remove(0);
    let mut tasks = Vec::new();
    for n in 10..20 {
        tasks.push(bring(&hotspot, n, &code));
    }
    let mut statuses = Vec::new();
    for answer in crate::flows::futures(tasks.into_iter()).await {
        statuses.push(answer.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 5, "{statuses:?}");
    let admitted = (10..20).filter(|n| hotspot.kernel.has(device(*n))).count();
    assert_eq!((admitted, hotspot.portal.sessions().len()), (5, 5));
}

#[tokio::test]
async fn codes_are_hashed_on_disk_and_guessing_is_slow() {
    let hotspot = Hotspot::with(|settings| settings.access = Access::OpenOrCode).await;
    let code = hotspot.portal.new_vouchers(batch("desk"), 1).await.unwrap().remove(0);
    for file in ["portal.sqlite", "portal.sqlite-wal"] {
        let bytes = fs::read(hotspot.folder.path().join("lib").join(file)).unwrap_or_default();
        for text in [code.clone(), code.replace('-', "")] {
            assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{file}");
        }
    }
    let mut statuses = Vec::new();
    for n in 0..7 {
        statuses.push(bring(&hotspot, 2, &format!("0000-0000-000{n}")).await.status);
    }
    assert_eq!(statuses, [403, 403, 403, 403, 403, 429, 429]);
    // Not even the right one, for who has tried too often; another device has its own tries, and the button still works.
    assert_eq!(bring(&hotspot, 2, &code).await.status, 429);
    assert_eq!(hotspot.accept(2).await.status, 303);
    assert_eq!(bring(&hotspot, 3, &code).await.status, 303);
    // Ten thousand devices together are no faster.
    let mut tried = 0;
    for n in 300..1000 {
        let status = bring(&hotspot, n, "zzzz-zzzz-zzzz").await.status;
        tried += u32::from(status == 403);
        assert!(matches!(status, 403 | 429));
    }
    assert_eq!(tried, 295);
}

#[tokio::test]
async fn code_that_is_out_of_date_or_ended_admits_nobody() {
    let hotspot = Hotspot::with(needs_code).await;
    let until = Batch { valid_until: Some(1_795_420_800 + 60), ..batch("today") };
    let codes = hotspot.portal.new_vouchers(until, 3).await.unwrap();
    assert_eq!(bring(&hotspot, 2, &codes[0]).await.status, 303);
    *hotspot.clock.set.lock().unwrap() = false;
    assert_eq!(bring(&hotspot, 3, &codes[1]).await.status, 403, "nobody knows the date");
    *hotspot.clock.set.lock().unwrap() = true;
    hotspot.clock.forward(Duration::from_secs(60));
    assert_eq!(bring(&hotspot, 3, &codes[1]).await.status, 403);
    let codes = hotspot.portal.new_vouchers(batch("other"), 1).await.unwrap();
    assert!(hotspot.portal.end_vouchers("other").await.unwrap());
    assert!(!hotspot.portal.end_vouchers("other").await.unwrap());
    assert_eq!(bring(&hotspot, 3, &codes[0]).await.status, 403);
    for (wrong, count) in [
        (batch(""), 1),
        (batch("a"), 0),
        (batch("a"), 1001),
        (Batch { seconds: 1, ..batch("a") }, 1),
        (Batch { devices: 0, ..batch("a") }, 1),
        (Batch { group: Some("nobody".into()), ..batch("a") }, 1),
        (batch("today"), 1),
    ] {
        assert!(hotspot.portal.new_vouchers(wrong.clone(), count).await.is_err(), "{wrong:?} {count}");
    }
}

#[tokio::test]
async fn closed_hotspot_admits_nobody_and_its_sessions_end_at_closing_time() {
    let hotspot = Hotspot::with(|settings| {
        // It is nine on a Monday in Tirana.
        settings.hours = vec!["mon-fri 08:00-12:00".into(), "sat 22:00-02:00".into()];
        settings.zone = Some("Europe/Tirane".into());
    })
    .await;
    let token = hotspot.token(3).await;
    hotspot.accept(2).await;
    assert_eq!(left(&hotspot, 2), 3 * HOUR);
    assert!(hotspot.kernel.dump().iter().all(|(.., left)| left.as_secs() <= 3 * HOUR));
    hotspot.clock.forward(Duration::from_secs(3 * HOUR));
    hotspot.portal.tick().await;
    assert!(!hotspot.is_guest(2) && !hotspot.kernel.has(device(2)));
    let page = hotspot.get_in(2, "en", NAME, "/").await;
    assert_eq!(page.status, 403);
    assert!(page.body.contains("Closed at this hour") && page.body.contains("Mon–Fri 08:00–12:00"), "{}", page.body);
    assert_eq!(hotspot.post(3, "/accept", &format!("token={token}&lang=en")).await.status, 403);
    assert!(!hotspot.kernel.has(device(3)));
    // On the next day it opens again; and not while nobody knows the day.
    hotspot.clock.forward(Duration::from_secs(21 * HOUR));
    *hotspot.clock.set.lock().unwrap() = false;
    assert_eq!(hotspot.get(3, NAME, "/").await.status, 403);
    *hotspot.clock.set.lock().unwrap() = true;
    assert_eq!(hotspot.accept(3).await.status, 303);
}

#[tokio::test]
async fn admin_extends_and_moves_a_live_session() {
    let mut hotspot = Hotspot::new().await;
    assert!(!hotspot.portal.extend(device(2), Duration::from_secs(HOUR)).await.unwrap());
    assert!(!hotspot.portal.regroup(device(2), "guest").await.unwrap());
    hotspot.accept(2).await;
    assert!(hotspot.portal.extend(device(2), Duration::from_secs(20 * HOUR)).await.unwrap());
    assert_eq!(left(&hotspot, 2), 20 * HOUR);
    assert!(hotspot.portal.regroup(device(2), "staff").await.unwrap());
    let group = |hotspot: &Hotspot| hotspot.directory.load().client(source(2)).map(|client| client.group.to_string());
    assert_eq!(group(&hotspot).as_deref(), Some("staff"));
    // Pressing the button takes none of it back, and neither does a restart.
    hotspot.accept(2).await;
    hotspot.restart().await;
    assert_eq!((group(&hotspot).as_deref(), left(&hotspot, 2)), (Some("staff"), 20 * HOUR));
}

fn city(keys: &str) -> impl FnOnce(&mut Settings) {
    move |settings: &mut Settings| {
        let path = settings.run.join("roaming.key");
        fs::create_dir_all(&settings.run).unwrap();
        fs::write(&path, keys).unwrap();
        settings.roaming = Some(Roaming { keys: path, longest: Duration::from_secs(12 * HOUR) });
    }
}

#[tokio::test]
async fn ticket_of_one_hotspot_goes_on_at_another_with_and_without_cookies() {
    let key = "07".repeat(32);
    let here = Hotspot::with(city(&key)).await;
    let accepted = here.accept(2).await;
    let cookie = accepted.header("set-cookie").unwrap().to_owned();
    assert!(cookie.starts_with("sheshi=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    let ticket = cookie.trim_start_matches("sheshi=").split(';').next().unwrap().to_owned();
    let status = here.get_in(2, "en", NAME, "/").await.body;
    assert!(status.contains(&format!("http://{NAME}/?ticket={ticket}")), "the link for who keeps no cookies");
    // Nothing in it is of the device: another one that comes with it has the same.
    assert_eq!(here.accept(3).await.header("set-cookie"), Some(&*cookie));

    // Elsewhere, an hour later, where a code is needed, as another device.
    let there = Hotspot::with(|settings| {
        city(&format!("{}\n{key}", "01".repeat(32)))(settings);
        settings.access = Access::Code;
    })
    .await;
    there.clock.forward(Duration::from_secs(HOUR));
    for (n, path, headers) in [
        (20, format!("/?ticket={ticket}"), String::new()),
        (21, "/".into(), format!("Cookie: a=b; sheshi={ticket}\r\n")),
    ] {
        let page = there.request(n, "GET", NAME, &path, &format!("Accept-Language: en\r\n{headers}"), "").await;
        assert!(page.body.contains("Your access goes on here: 7 hours left."), "{}", page.body);
        // A link changes nothing: it takes the button.
        assert!(!there.kernel.has(device(n)));
        let form = format!("token={}&lang=en&ticket={}", page.field("token"), page.field("ticket"));
        assert_eq!(there.post(n, "/accept", &form).await.status, 303);
        assert_eq!(left(&there, n), 7 * HOUR);
    }
    // One of another city, a changed one, and one that is over, give nothing.
    let elsewhere = Hotspot::with(|settings| {
        city(&"02".repeat(32))(settings);
        settings.access = Access::Code;
    })
    .await;
    let forms =
        [(&elsewhere, ticket.clone()), (&there, format!("{}A", &ticket[..ticket.len() - 1])), (&there, String::new())];
    for (hotspot, ticket) in forms {
        let token = hotspot.token(30).await;
        assert_eq!(hotspot.post(30, "/accept", &format!("token={token}&lang=en&ticket={ticket}")).await.status, 403);
        assert!(!hotspot.kernel.has(device(30)));
    }
    there.clock.forward(Duration::from_secs(8 * HOUR));
    let token = there.token(31).await;
    assert_eq!(there.post(31, "/accept", &format!("token={token}&lang=en&ticket={ticket}")).await.status, 403);
    *there.clock.set.lock().unwrap() = false;
    assert!(!there.get_in(31, "en", NAME, &format!("/?ticket={ticket}")).await.body.contains("goes on here"));
}

#[tokio::test]
async fn device_of_the_city_is_admitted_without_the_portal_until_its_last_day() {
    let hotspot = Hotspot::with(|settings| {
        settings.staff = vec![
            toml::from_str(&format!("mac = '{}'\ngroup = 'guest'\nuntil = '2026-11-24'", device(2))).unwrap(),
            toml::from_str(&format!("mac = '{}'\ngroup = 'guest'\nuntil = '2026-11-22'", device(3))).unwrap(),
        ];
    })
    .await;
    for n in [2, 3, 4] {
        hotspot.portal.new_address(device(n), source(n)).await.unwrap();
    }
    assert!(hotspot.is_guest(2) && !hotspot.is_guest(3) && !hotspot.is_guest(4));
    assert_eq!(hotspot.portal.consents().await.unwrap(), [], "nobody accepted anything");
    hotspot.clock.forward(Duration::from_secs(24 * HOUR));
    hotspot.portal.tick().await;
    assert!(!hotspot.kernel.has(device(2)));
    assert!(hotspot.portal.new_address(device(2), source(2)).await.unwrap());
    assert_eq!(left(&hotspot, 2), 16 * HOUR, "until the day is over");
    hotspot.clock.forward(Duration::from_secs(16 * HOUR));
    hotspot.portal.tick().await;
    assert!(!hotspot.portal.new_address(device(2), source(2)).await.unwrap());
    *hotspot.clock.set.lock().unwrap() = false;
    assert!(!hotspot.portal.new_address(device(2), source(2)).await.unwrap());
}

#[tokio::test]
async fn record_of_consent_is_erased_alone() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    hotspot.accept(3).await;
    let consents = hotspot.portal.consents().await.unwrap();
    assert!(hotspot.portal.erase_consent(&consents[0].pseudonym).await.unwrap());
    assert_eq!(hotspot.portal.consents().await.unwrap(), consents[1..]);
    assert!(!hotspot.portal.erase_consent(&consents[0].pseudonym).await.unwrap());
    assert!(!hotspot.portal.erase_consent("%").await.unwrap());
    assert!(hotspot.is_guest(2), "the session is another thing");
}
