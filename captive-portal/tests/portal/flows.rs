//! Joining, accepting, staying, leaving, and what survives.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tokio::io::AsyncWriteExt;

use crate::hotspot::{Fault, Hotspot, NAME, device, source};

#[tokio::test]
async fn guest_joins_accepts_sees_the_time_left_and_leaves() {
    let hotspot = Hotspot::new().await;
    let page = hotspot.get(2, NAME, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.is_terms());
    assert!(!hotspot.kernel.has(device(2)));

    let answer = hotspot.accept(2).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/welcome?lang=sq")));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(hotspot.kernel.has(device(2)));
    assert!(hotspot.is_guest(2));
    assert_eq!(&*hotspot.directory.load().client(source(2)).unwrap().group, "guest");
    assert_eq!(hotspot.get(2, NAME, "/welcome").await.status, 200);

    hotspot.clock.forward(Duration::from_secs(3600));
    let status = hotspot.get_in(2, "en", NAME, "/").await;
    assert!(status.is_status());
    assert!(status.body.contains("7 hours"), "{}", status.body);

    let answer = hotspot.post(2, "/leave", &format!("token={}", status.field("token"))).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/?lang=sq&left=1")));
    assert!(!hotspot.kernel.has(device(2)));
    assert!(!hotspot.is_guest(2));
    assert!(hotspot.get(2, NAME, "/?lang=en&left=1").await.body.contains("You are logged out"));
    assert_eq!(hotspot.kernel.asked(), ["admit 02:00:00:00:00:02 1", "expel 02:00:00:00:00:02"]);
}

#[tokio::test]
async fn all_addresses_of_a_device_are_admitted_and_later_ones_too() {
    let hotspot = Hotspot::new().await;
    let (first, later): (IpAddr, IpAddr) =
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 8).into());
    hotspot.table.0.lock().unwrap().insert(first, device(2));
    hotspot.accept(2).await;
    assert_eq!(hotspot.kernel.addresses(device(2)), [source(2), first]);

    hotspot.clock.forward(Duration::from_secs(3600));
    assert!(hotspot.portal.new_address(device(2), later).await.unwrap());
    assert_eq!(hotspot.kernel.addresses(device(2)).len(), 3);
    assert_eq!(hotspot.directory.load().client(later).unwrap().mac, device(2));
    // For the time left, not for a whole session.
    assert!(hotspot.kernel.dump().iter().all(|(.., left)| *left <= Duration::from_secs(7 * 3600)));

    assert!(!hotspot.portal.new_address(device(3), later).await.unwrap());
    assert!(!hotspot.portal.new_address(device(2), "ff02::1".parse().unwrap()).await.unwrap());
    assert_eq!(hotspot.kernel.addresses(device(3)), [] as [IpAddr; 0]);
}

#[tokio::test]
async fn guest_under_a_new_address_is_let_in_by_asking_the_portal() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    hotspot.table.0.lock().unwrap().insert(source(102), device(2));
    assert!(hotspot.get(102, NAME, "/").await.is_status());
    assert!(hotspot.is_guest(102));
    assert_eq!(hotspot.portal.stats().sessions, 1);
}

#[tokio::test]
async fn device_with_too_many_addresses_gets_no_more() {
    let hotspot = Hotspot::with(|settings| settings.limits.addresses_per_device = 4).await;
    hotspot.accept(2).await;
    let mut granted = 0;
    for n in 1..=10 {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into();
        granted += usize::from(hotspot.portal.new_address(device(2), address).await.unwrap());
    }
    assert_eq!(granted, 3);
    assert_eq!(hotspot.kernel.addresses(device(2)).len(), 4);
}

#[tokio::test]
async fn ten_presses_of_one_device_are_one_session() {
    let hotspot = Hotspot::new().await;
    let token = hotspot.token(2).await;
    let body = format!("token={token}&lang=sq");
    let presses = (0..10).map(|_| hotspot.post(2, "/accept", &body));
    let mut answers = Vec::new();
    for press in futures(presses).await {
        answers.push(press.status);
    }
    assert_eq!(answers, [303; 10]);
    assert_eq!(hotspot.kernel.asked(), ["admit 02:00:00:00:00:02 1"]);
    assert_eq!(hotspot.portal.stats().admitted, 1);
    assert_eq!(hotspot.portal.consents().await.unwrap().len(), 1);
}

#[tokio::test]
async fn guest_who_accepts_again_stays_for_a_whole_session_more() {
    let mut hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    hotspot.clock.forward(Duration::from_secs(7 * 3600));
    let page = hotspot.get_in(2, "en", NAME, "/terms").await;
    assert!(page.body.contains("Accept and stay online"));
    let token = page.field("token");
    // Without the token of the page nothing changes.
    assert_eq!(hotspot.post(2, "/accept", "token=00&lang=en").await.status, 303);
    assert_eq!(hotspot.portal.sessions()[0].left, Duration::from_secs(3600));
    assert_eq!(hotspot.post(2, "/accept", &format!("token={token}&lang=en")).await.status, 303);
    assert_eq!(hotspot.portal.sessions()[0].left, Duration::from_secs(8 * 3600));
    hotspot.clock.forward(Duration::from_secs(4 * 3600));
    hotspot.portal.tick().await;
    hotspot.restart().await;
    assert!(hotspot.is_guest(2) && hotspot.kernel.has(device(2)));
    assert_eq!(hotspot.portal.consents().await.unwrap().len(), 2);
}

#[tokio::test]
async fn renewal_that_cannot_be_recorded_leaves_the_session_as_it_was() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    hotspot.clock.forward(Duration::from_secs(7 * 3600));
    let token = hotspot.get(2, NAME, "/terms").await.field("token");
    fs::remove_dir_all(hotspot.folder.path().join("lib")).unwrap();
    assert_eq!(hotspot.post(2, "/accept", &format!("token={token}&lang=sq")).await.status, 503);
    assert!(hotspot.is_guest(2));
    let left = |(.., left): &(_, _, Duration)| *left <= Duration::from_secs(3600);
    assert!(hotspot.kernel.has(device(2)) && hotspot.kernel.dump().iter().all(left));
    assert_eq!(hotspot.portal.sessions()[0].left, Duration::from_secs(3600));
}

/// A bus arrives. Each meets the portal by its system's probe, opens the page and accepts; the bound is that of the whole
/// gateway on two cores.
#[tokio::test]
async fn five_hundred_devices_at_once_are_five_hundred_sessions() {
    let hotspot = Hotspot::new().await;
    let begin = std::time::Instant::now();
    let joins = (300..800).map(async |n| {
        assert_eq!(hotspot.get(n, "captive.apple.com", "/hotspot-detect.html").await.status, 302);
        hotspot.accept(n).await.status
    });
    let answers = futures(joins).await;
    let time = begin.elapsed();
    assert!(answers.iter().all(|status| *status == 303));
    assert_eq!(hotspot.portal.sessions().len(), 500);
    assert_eq!(hotspot.directory.load().len(), 500);
    assert!(time < Duration::from_secs(20), "{time:?}");
    println!("500 devices in {time:?}");
}

#[tokio::test]
async fn browser_that_hangs_up_leaves_nothing_half_done() {
    let hotspot = Hotspot::new().await;
    *hotspot.kernel.delay.lock().unwrap() = Duration::from_millis(500);
    let token = hotspot.token(2).await;
    let body = format!("token={token}&lang=sq");
    let mut stream = hotspot.connect(2).await;
    let request = format!(
        "POST /accept HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // While the kernel is being asked.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!hotspot.is_guest(2));
    drop(stream);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(hotspot.kernel.has(device(2)) && hotspot.is_guest(2));
    assert_eq!(hotspot.portal.consents().await.unwrap().len(), 1);
}

#[tokio::test]
async fn session_ends_by_itself_for_kernel_directory_and_disk() {
    let mut hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    hotspot.clock.forward(Duration::from_secs(8 * 3600 - 1));
    hotspot.portal.tick().await;
    assert!(hotspot.is_guest(2));
    hotspot.clock.forward(Duration::from_secs(1));
    // Before the tick, the portal already knows.
    assert!(hotspot.get(2, NAME, "/").await.is_terms());
    hotspot.portal.tick().await;
    assert!(!hotspot.is_guest(2));
    // The kernel forgets by itself; it is asked because of the open connections.
    assert_eq!(hotspot.kernel.asked().last().unwrap(), "expel 02:00:00:00:00:02");
    assert_eq!(hotspot.portal.stats().expired, 1);
    hotspot.restart().await;
    assert_eq!(hotspot.portal.sessions(), []);
}

#[tokio::test]
async fn restart_logs_nobody_out_and_keeps_the_kernels_time() {
    let mut hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    hotspot.accept(3).await;
    hotspot.clock.forward(Duration::from_secs(3600));
    hotspot.restart().await;
    assert!(hotspot.is_guest(2) && hotspot.is_guest(3));
    let sessions = hotspot.portal.sessions();
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| session.left <= Duration::from_secs(7 * 3600)), "{sessions:?}");
    assert!(hotspot.get(2, NAME, "/").await.is_status());
    assert!(hotspot.get(4, NAME, "/").await.is_terms());
    assert_eq!(hotspot.kernel.asked().len(), 2);
}

#[tokio::test]
async fn session_that_the_kernel_lost_is_closed() {
    let mut hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    hotspot.kernel.set.lock().unwrap().clear();
    hotspot.restart().await;
    assert!(!hotspot.is_guest(2));
    // Also if the kernel finds it again.
    hotspot.kernel.set.lock().unwrap().insert((device(2), source(2)), far(&hotspot));
    hotspot.restart().await;
    assert!(!hotspot.is_guest(2));
    assert!(!hotspot.kernel.has(device(2)));
}

#[tokio::test]
async fn records_that_cannot_be_read_expel_everybody() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    let portal = hotspot.open().await;
    rusqlite::Connection::open(&hotspot.settings.database).unwrap().execute_batch("DROP TABLE session").unwrap();
    portal.restore(hotspot.kernel.dump()).await.unwrap_err();
    assert!(!hotspot.kernel.has(device(2)));
    assert_eq!(portal.sessions(), []);
}

#[tokio::test]
async fn device_that_the_kernel_has_and_nobody_recorded_is_expelled() {
    let mut hotspot = Hotspot::new().await;
    hotspot.kernel.set.lock().unwrap().insert((device(9), source(9)), far(&hotspot));
    hotspot.restart().await;
    assert!(!hotspot.kernel.has(device(9)));
    assert!(!hotspot.is_guest(9));
}

#[tokio::test]
async fn after_a_reboot_what_is_on_the_disk_leads_to_nobody() {
    let mut hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    // The key goes with `/run`; a kernel that kept its set all the same is not believed.
    fs::remove_dir_all(hotspot.folder.path().join("run")).unwrap();
    hotspot.restart().await;
    assert_eq!(hotspot.portal.sessions(), []);
    assert!(!hotspot.kernel.has(device(2)));
}

#[tokio::test]
async fn admission_that_cannot_be_recorded_is_undone() {
    for (case, harm) in [
        ("the folder is gone", remove as fn(&Hotspot)),
        ("another file lies there", replace),
        ("somebody holds the database", lock),
    ] {
        let hotspot = Hotspot::new().await;
        harm(&hotspot);
        let answer = hotspot.accept(2).await;
        assert_eq!(answer.status, 503, "{case}");
        assert!(answer.body.contains("Kjo nuk funksionoi"), "{case}");
        assert!(answer.is_terms(), "{case}");
        assert!(!hotspot.kernel.has(device(2)), "{case}");
        assert!(!hotspot.is_guest(2), "{case}");
        assert_eq!(hotspot.kernel.asked(), ["admit 02:00:00:00:00:02 1", "expel 02:00:00:00:00:02"], "{case}");
        assert_eq!(hotspot.portal.stats().undone, 1, "{case}");
    }

    fn remove(hotspot: &Hotspot) {
        fs::remove_dir_all(hotspot.folder.path().join("lib")).unwrap();
    }
    fn replace(hotspot: &Hotspot) {
        let path = &hotspot.settings.database;
        fs::copy(path, path.with_extension("copy")).unwrap();
        fs::rename(path.with_extension("copy"), path).unwrap();
    }
    fn lock(hotspot: &Hotspot) {
        let connection = rusqlite::Connection::open(&hotspot.settings.database).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        // Held until the test ends.
        Box::leak(Box::new(connection));
    }
}

#[tokio::test]
async fn admission_works_again_when_the_disk_does() {
    let hotspot = Hotspot::new().await;
    let connection = rusqlite::Connection::open(&hotspot.settings.database).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(hotspot.accept(2).await.status, 503);
    drop(connection);
    assert_eq!(hotspot.accept(2).await.status, 303);
    assert!(hotspot.is_guest(2));
}

/// Runs itself with a bound on the size of files, as a full disk is.
#[test]
fn admission_on_a_full_disk_is_undone() {
    const INNER: &str = "SHESHI_TEST_FULL_DISK";
    if std::env::var_os(INNER).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let hotspot = Hotspot::new().await;
            let mut refused = 0;
            for n in 2..=100 {
                let answer = hotspot.accept(n).await;
                assert_eq!(answer.status == 303, hotspot.is_guest(n));
                assert_eq!(hotspot.is_guest(n), hotspot.kernel.has(device(n)));
                refused += u32::from(answer.status == 503);
            }
            println!("admitted {} refused {refused}", hotspot.portal.sessions().len());
        });
        return;
    }
    let told = alone("flows::admission_on_a_full_disk_is_undone", INNER, "ulimit -f 128; ");
    let refused: u32 = told.split("refused ").nth(1).expect(&told).lines().next().unwrap().parse().unwrap();
    assert!(refused > 0 && !told.contains("admitted 0"), "the disk was never full, or always: {told}");
}

#[tokio::test]
async fn firewall_that_refuses_admits_nobody_and_records_nothing() {
    for fault in [Fault::RefusesToAdmit, Fault::AdmitsAndDenies] {
        let hotspot = Hotspot::new().await;
        *hotspot.kernel.fault.lock().unwrap() = fault;
        assert_eq!(hotspot.accept(2).await.status, 503);
        assert!(!hotspot.kernel.has(device(2)));
        assert!(!hotspot.is_guest(2));
        assert!(hotspot.portal.consents().await.unwrap().is_empty());
    }
}

/// Everything that can happen to a guest, with the log that an admin sees. In a process of its own: what one thread logs
/// depends on what others have asked for.
#[test]
fn log_names_no_device_and_no_site() {
    const INNER: &str = "SHESHI_TEST_LOG";
    if std::env::var_os(INNER).is_none() {
        alone("flows::log_names_no_device_and_no_site", INNER, "");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(every_log_line());
}

async fn every_log_line() {
    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let mut hotspot = Hotspot::new().await;
    hotspot.get(2, "news.example", "/secret").await;
    *hotspot.kernel.fault.lock().unwrap() = Fault::RefusesToAdmit;
    assert_eq!(hotspot.accept(2).await.status, 503);
    *hotspot.kernel.fault.lock().unwrap() = Fault::None;
    hotspot.accept(2).await;
    hotspot.get(2, "news.example", "/secret").await;
    hotspot.get(2, "casino.example", "/secret").await;
    hotspot.get(2, "captive.apple.com", "/hotspot-detect.html").await;
    hotspot.restart().await;
    *hotspot.kernel.fault.lock().unwrap() = Fault::RefusesToExpel;
    hotspot.clock.forward(Duration::from_secs(9 * 3600));
    hotspot.portal.tick().await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for told in ["admitting a device: the kernel said no", "sessions restored", "ending a session: expelling a device"]
    {
        assert!(log.contains(told), "{told} is not in the log: {log}");
    }
    for secret in ["02:00:00", "127.0.0.2", "news.example", "casino", "secret", "apple"] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

#[tokio::test]
async fn guest_whom_the_firewall_did_not_expel_is_expelled_later() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    *hotspot.kernel.fault.lock().unwrap() = Fault::RefusesToExpel;
    assert!(hotspot.portal.expel(device(2)).await.is_err());
    // The resolver takes it for a stranger at once.
    assert!(!hotspot.is_guest(2));
    hotspot.portal.tick().await;
    assert!(hotspot.kernel.has(device(2)));
    *hotspot.kernel.fault.lock().unwrap() = Fault::None;
    hotspot.portal.tick().await;
    assert!(!hotspot.kernel.has(device(2)));
}

#[tokio::test]
async fn firewall_that_does_not_answer_holds_up_no_tick() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    hotspot.accept(3).await;
    *hotspot.kernel.fault.lock().unwrap() = Fault::HangsOnExpel;
    hotspot.clock.forward(Duration::from_secs(8 * 3600));
    let begin = std::time::Instant::now();
    for _ in 0..3 {
        hotspot.portal.tick().await;
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    // The directory does not wait for the firewall, and what is owed is done as soon as it answers again.
    assert!(!hotspot.is_guest(2) && !hotspot.is_guest(3));
    *hotspot.kernel.fault.lock().unwrap() = Fault::None;
    tokio::time::sleep(Duration::from_millis(4500)).await;
    hotspot.portal.tick().await;
    assert_eq!(hotspot.kernel.addresses(device(2)), [] as [IpAddr; 0]);
}

#[tokio::test]
async fn who_accepts_again_is_not_expelled_by_an_old_debt() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    *hotspot.kernel.fault.lock().unwrap() = Fault::RefusesToExpel;
    hotspot.portal.expel(device(2)).await.unwrap_err();
    *hotspot.kernel.fault.lock().unwrap() = Fault::None;
    assert_eq!(hotspot.accept(2).await.status, 303);
    hotspot.portal.tick().await;
    assert!(hotspot.kernel.has(device(2)) && hotspot.is_guest(2));
}

#[tokio::test]
async fn full_house_says_so_and_admits_nobody() {
    let hotspot = Hotspot::with(|settings| settings.limits.sessions = 1).await;
    assert_eq!(hotspot.accept(2).await.status, 303);
    let answer = hotspot.accept(3).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("Të gjitha vendet janë zënë"));
    assert!(!hotspot.kernel.has(device(3)));
}

#[tokio::test]
async fn disk_holds_no_device_and_forgets_what_is_deleted() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    let consent = hotspot.portal.consents().await.unwrap().remove(0);
    let pseudonym: Vec<u8> =
        (0..32).map(|n| u8::from_str_radix(&consent.pseudonym[2 * n..2 * n + 2], 16).unwrap()).collect();
    let disk = || {
        let files = fs::read_dir(hotspot.folder.path().join("lib")).unwrap();
        files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect::<Vec<u8>>()
    };
    let holds = |needle: &[u8]| disk().windows(needle.len()).any(|window| window == needle);
    assert!(holds(&pseudonym), "the positive control");
    assert!(!holds(&device(2).0));
    assert!(!holds(b"02:00:00:00:00:02"));
    assert!(!holds(b"127.0.0.2"));
    assert_eq!(consent.accepted_at, Some(1_795_420_800));

    // Kept for 30 days, and not for one more.
    hotspot.portal.tick().await;
    hotspot.clock.forward(Duration::from_secs(30 * 86_400 - 1));
    hotspot.portal.tick().await;
    assert_eq!(hotspot.portal.consents().await.unwrap().len(), 1);
    hotspot.clock.forward(Duration::from_secs(601));
    hotspot.portal.tick().await;
    assert_eq!(hotspot.portal.consents().await.unwrap(), []);
    assert!(!holds(&pseudonym), "a deleted record is still on the disk");
}

#[tokio::test]
async fn record_made_before_the_clock_was_set_is_kept_from_then_on() {
    let hotspot = Hotspot::new().await;
    *hotspot.clock.set.lock().unwrap() = false;
    hotspot.accept(2).await;
    hotspot.portal.tick().await;
    assert_eq!(hotspot.portal.consents().await.unwrap()[0].accepted_at, None);
    *hotspot.clock.set.lock().unwrap() = true;
    hotspot.clock.forward(Duration::from_secs(700));
    hotspot.portal.tick().await;
    hotspot.clock.forward(Duration::from_secs(29 * 86_400));
    hotspot.portal.tick().await;
    assert_eq!(hotspot.portal.consents().await.unwrap().len(), 1);
    hotspot.clock.forward(Duration::from_secs(2 * 86_400));
    hotspot.portal.tick().await;
    assert_eq!(hotspot.portal.consents().await.unwrap(), []);
}

#[tokio::test]
async fn consent_names_the_text_that_was_read() {
    let hotspot = Hotspot::new().await;
    for (n, language) in [(2, "sq"), (3, "en"), (4, "en")] {
        let page = hotspot.get_in(n, language, NAME, "/").await;
        hotspot.post(n, "/accept", &format!("token={}&lang={language}", page.field("token"))).await;
        let terms = page.body.split("<details><summary>").nth(1).unwrap().split("</details>").next().unwrap();
        let version = terms.rsplit("<p class=\"small\">").next().unwrap();
        let consents = hotspot.portal.consents().await.unwrap();
        let newest = consents.iter().find(|consent| version.contains(&consent.terms[..8]));
        assert_eq!(newest.unwrap().language, language, "{version}");
    }
    // Three devices, three pseudonyms, two texts.
    let consents = hotspot.portal.consents().await.unwrap();
    assert_eq!(consents.len(), 3);
}

fn far(hotspot: &Hotspot) -> std::time::Instant {
    use sheshi_captive_portal::Clock;
    hotspot.clock.instant() + Duration::from_secs(3600)
}

/// All at once.
pub(crate) async fn futures<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| Box::pin(future)).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().map(Option::unwrap).collect()
}

/// Runs one test of this program in a process of its own, after a piece of shell, and gives back what it printed.
fn alone(test: &str, marked: &str, first: &str) -> String {
    // The signal of a file-size bound is ignored, so that the write fails as on a full disk.
    let script = format!("trap '' XFSZ; {first}exec \"$0\" --exact {test} --nocapture");
    let mut command = std::process::Command::new("sh");
    let output = command.args(["-c", &script]).arg(std::env::current_exe().unwrap()).env(marked, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
    told
}
