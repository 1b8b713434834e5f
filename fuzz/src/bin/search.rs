//! libFuzzer over the target that `SHESHI_TARGET` names; `SHESHI_SEEDS` is the folder that its seeds are written to first.
#![no_main]

use std::{path::PathBuf, sync::OnceLock};

use sheshi_fuzz::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

fn start() {
    let name = std::env::var("SHESHI_TARGET").unwrap_or_default();
    let Some(target) = TARGETS.into_iter().find(|target| target.name == name) else {
        let names = TARGETS.map(|target| target.name).join(", ");
        eprintln!("SHESHI_TARGET is {name:?}; want one of {names}");
        std::process::exit(2);
    };
    if let Some(folder) = std::env::var_os("SHESHI_SEEDS").map(PathBuf::from) {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            let path = folder.join(format!("seed-{number}"));
            std::fs::write(&path, seed).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
        }
    }
    TARGET.get_or_init(|| target);
}

libfuzzer_sys::fuzz_target!(init: start(), |data: &[u8]| {
    let target = TARGET.get().expect("start ran first");
    (target.run)(data);
});
