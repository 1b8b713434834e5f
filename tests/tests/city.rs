//! A gateway and the city's dashboard: it joins, is let in by a person, reports, and goes on without.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sheshi_tests::{Lab, Options, own_program, until};

/// A dashboard that serves a Unix socket; it ends with this value.
struct Dashboard {
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Dashboard {
    fn start() -> Self {
        let mut dashboard = Self { folder: tempfile::tempdir().unwrap(), process: None };
        dashboard.start_again();
        dashboard
    }

    fn start_again(&mut self) {
        let mut command = Command::new(own_program("sheshi-dashboard").unwrap());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(self.folder.path());
        command.arg("--socket").arg(self.socket()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let connects = || std::os::unix::net::UnixStream::connect(self.socket()).is_ok().then_some(());
        until("the dashboard to listen", Duration::from_secs(20), connects).unwrap();
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("proxy.sock")
    }

    /// What the console says.
    fn console(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(own_program("sheshi-dashboard").unwrap());
        let mut child = command
            .args(arguments)
            .arg("--data")
            .arg(self.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success(), "{arguments:?}: {text}");
        text
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.end();
    }
}

fn city(lab: &Lab) -> serde_json::Value {
    lab.gateway_status().unwrap()["city"].clone()
}

fn troubles(lab: &Lab) -> String {
    lab.gateway_status().unwrap()["troubles"].to_string()
}

#[test]
fn gateway_joins_is_let_in_by_a_person_and_reports() {
    let mut dashboard = Dashboard::start();
    let options = Options { dashboard: Some(dashboard.socket()), ..Options::default() };
    let lab = Lab::start(options).unwrap_or_else(|problem| panic!("{problem}"));
    let state = |wanted: &'static str| {
        until(wanted, Duration::from_secs(20), || (city(&lab)["state"] == wanted).then_some(())).unwrap();
    };
    state("unclaimed");
    until("a trouble that says what to do", Duration::from_secs(20), || {
        troubles(&lab).contains("sheshi join CODE").then_some(())
    })
    .unwrap();

    // A code that nobody made is refused, and nothing is kept of it.
    let refused = lab.sheshi(&["join", "0000-0000-0000-0000"]).unwrap_err().to_string();
    assert!(refused.contains("code"), "{refused}");
    state("unclaimed");

    let said = dashboard.console(&["join-code"]);
    let code = said.trim().rsplit(' ').next().unwrap();
    let joined = lab.sheshi(&["join", code]).unwrap();
    assert!(joined.contains("pending"), "{joined}");
    let fingerprint = city(&lab)["fingerprint"].as_str().unwrap().to_owned();
    assert!(joined.contains(&fingerprint), "{joined}");
    let listed = dashboard.console(&["gateways"]);
    assert!(listed.contains("pending") && listed.contains("Lab square") && listed.contains(&fingerprint), "{listed}");

    dashboard.console(&["approve", &fingerprint]);
    // It asks once a minute; a restart asks at once.
    lab.kill("gateway", sheshi_tests::Signal::SIGKILL).unwrap();
    lab.wait_for_gateway().unwrap();
    state("approved");
    until("a report", Duration::from_secs(20), || city(&lab)["heard"].as_u64()).unwrap();
    let listed = dashboard.console(&["gateways"]);
    assert!(listed.contains("approved") && !listed.contains("never heard"), "{listed}");
    assert!(!troubles(&lab).contains("dashboard"), "{}", troubles(&lab));

    // Without the dashboard guests notice nothing, and the admin is told.
    dashboard.end();
    lab.kill("gateway", sheshi_tests::Signal::SIGKILL).unwrap();
    lab.wait_for_gateway().unwrap();
    until("the trouble to be told", Duration::from_secs(20), || {
        troubles(&lab).contains("the dashboard was not told").then_some(())
    })
    .unwrap();
    lab.guest("guest1").join_and_accept().unwrap();
    assert_eq!(city(&lab)["state"], "approved");

    // After two kills the sequence is still higher than all before: no quarantine.
    dashboard.start_again();
    lab.kill("gateway", sheshi_tests::Signal::SIGKILL).unwrap();
    lab.wait_for_gateway().unwrap();
    until("a report again", Duration::from_secs(20), || city(&lab)["heard"].as_u64()).unwrap();
    let listed = dashboard.console(&["gateways"]);
    assert!(listed.contains("approved"), "{listed}");
}
