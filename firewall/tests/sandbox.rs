//! A process that has shut itself in, and the guard as one.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{fs, net::UdpSocket, os::unix::net::UnixDatagram, path::Path, process::Command, thread};

use common::square;
use lab::*;
use sheshi_firewall::sandbox::{self, Needs};

/// What a process tries; each must work before it shuts itself in.
fn attempts(inside: &Path, outside: &Path) -> Vec<(&'static str, bool)> {
    let program = || Command::new("/bin/true").status();
    let raw = || socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::RAW, None).map(drop);
    let mount = || {
        let none = None::<&str>;
        nix::mount::mount(Some("tmpfs"), outside, Some("tmpfs"), nix::mount::MsFlags::empty(), none)?;
        nix::mount::umount(outside)
    };
    vec![
        ("write inside", fs::write(inside.join("file"), "text").is_ok()),
        ("read inside", fs::read(inside.join("file")).is_ok()),
        ("unix socket", UnixDatagram::unbound().is_ok()),
        ("write outside", fs::write(outside.join("file"), "text").is_ok()),
        ("read outside", fs::read(outside.join("kept")).is_ok()),
        ("start a program", program().is_ok()),
        ("internet socket", UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("packet socket", raw().is_ok()),
        ("mount", mount().is_ok()),
    ]
}

#[test]
fn process_that_has_shut_itself_in_does_what_it_needs_and_no_more() {
    lab("process_that_has_shut_itself_in_does_what_it_needs_and_no_more", |_| {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("kept"), "text").unwrap();
        let before = attempts(inside.path(), outside.path());
        assert!(before.iter().all(|(_, worked)| *worked), "the control: {before:?}");
        let needs = Needs {
            read: vec![inside.path().into()],
            write: vec![inside.path().into()],
            start: Vec::new(),
            sockets: vec![libc_families::UNIX, libc_families::NETLINK],
        };
        let (inside, outside) = (inside.path().to_owned(), outside.path().to_owned());
        let after = thread::spawn(move || {
            let confined = sandbox::enter(&needs).unwrap();
            assert!(confined.files, "this kernel has no Landlock");
            attempts(&inside, &outside)
        });
        let after: Vec<_> = after.join().unwrap().into_iter().map(|(_, worked)| worked).collect();
        assert_eq!(after, [true, true, true, false, false, false, false, false, false]);
    });
}

#[test]
fn guard_and_holder_have_shut_themselves_in() {
    lab("guard_and_holder_have_shut_themselves_in", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let programs: Vec<_> = fs::read_dir("/proc")
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "sheshi-guard"))
            .collect();
        assert_eq!(programs.len(), 2, "guard and holder");
        let mut threads = 0;
        for task in programs.iter().flat_map(|path| fs::read_dir(path.join("task")).unwrap()) {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
            threads += 1;
        }
        assert!(threads >= 5, "{threads}");
        // The control: we have not.
        assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t0"));
    });
}

/// Numbers of families (linux/socket.h).
mod libc_families {
    pub(crate) const UNIX: i32 = 1;
    pub(crate) const NETLINK: i32 = 16;
}
