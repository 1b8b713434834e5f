//! Measures compiling, loading and deciding with generated names, and prints one line for each.
//!
//! `cargo run --release -p sheshi-policy --example measure -- [NAMES] [LIST FILE …]`

use std::{env, fs, hint::black_box, process, time::Instant};

use sheshi_policy::{Compiled, Edition, GroupId, Moment, Policy, compile};

/// A reproducible stream of numbers.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

const SYLLABLES: [&str; 32] = [
    "ba", "be", "bi", "bo", "da", "de", "di", "do", "ka", "ke", "ki", "ko", "la", "le", "li", "lo", "ma", "me", "mi",
    "mo", "na", "ne", "ni", "no", "ra", "re", "ri", "ro", "sa", "se", "si", "so",
];
const ENDS: [&str; 10] = ["com", "com", "com", "com", "net", "org", "info", "xyz", "al", "co.uk"];

fn name(numbers: &mut Numbers) -> String {
    let mut name = String::new();
    if numbers.below(3) == 0 {
        name += ["www.", "m.", "cdn.", "a1."][numbers.below(4)];
    }
    for _ in 0..5 + numbers.below(3) {
        name += SYLLABLES[numbers.below(32)];
    }
    if numbers.below(4) == 0 {
        name += &numbers.below(1000).to_string();
    }
    name + "." + ENDS[numbers.below(10)]
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// Time this thread has had a processor, in nanoseconds: the figure that holds on a busy machine.
fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or(0.0)
}

/// Resident memory of this process in MB, all and private.
fn resident() -> (u64, u64) {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let sum = |keys: &[&str]| -> u64 {
        let lines = rollup.lines().filter(|line| keys.iter().any(|key| line.starts_with(key)));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() / 1024
    };
    (sum(&["Rss:"]), sum(&["Anonymous:"]))
}

fn main() {
    let mut arguments = env::args().skip(1);
    let count: usize = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(350_000);
    let path = env::temp_dir().join(format!("sheshi-measure-{}", process::id()));
    // Compiling takes memory that loading does not: measured in a process of its own.
    if let Ok(path) = env::var("SHESHI_MEASURE") {
        return decide(path.as_ref(), count);
    }
    let mut numbers = Numbers(42);
    let text: String = (0..count).map(|_| name(&mut numbers) + "\n").collect();
    let policy = "version = 1\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n";
    let policy = Policy::parse(policy).unwrap_or_else(|problems| panic!("{problems}"));
    let start = Instant::now();
    let edition = Edition::parse(&policy.lists[0], text.as_bytes()).expect("a list");
    drop(text);
    println!("parse    {:6.2} s   {} entries", start.elapsed().as_secs_f64(), edition.entries());
    let start = Instant::now();
    let file = compile(&policy, &[edition], &mut |_| ()).expect("a compiled policy");
    let (_, private) = resident();
    println!(
        "compile  {:6.2} s   {} MB file, {private} MB held after",
        start.elapsed().as_secs_f64(),
        file.len() >> 20
    );
    fs::write(&path, file).expect("room for the file");
    let peak = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!("         {peak}");
    let program = env::current_exe().expect("this program");
    let status = process::Command::new(program).arg(count.to_string()).env("SHESHI_MEASURE", &path).status();
    fs::remove_file(&path).expect("removing the file");
    assert!(status.is_ok_and(|status| status.success()));
}

fn decide(path: &std::path::Path, count: usize) {
    let (start, busy) = (Instant::now(), processor_time());
    let compiled = Compiled::load(path).expect("the file just written");
    println!(
        "load     {:6.1} ms, {:.1} ms of one processor, resident {:?} MB (all, private)",
        start.elapsed().as_secs_f64() * 1e3,
        (processor_time() - busy) / 1e6,
        resident()
    );
    let view = compiled.view(GroupId(0), Moment::Unknown);
    let mut numbers = Numbers(42);
    let asked = 1_000_000.min(count);
    // The listed names are the first of the stream; the others come after them.
    let mut listed: Vec<Vec<u8>> = (0..count).map(|_| wire(&name(&mut numbers))).collect();
    for n in 0..asked {
        let other = n + numbers.below(count - n);
        listed.swap(n, other);
    }
    listed.truncate(asked);
    // One after the other in memory, as packets in a buffer are.
    let listed: Vec<Vec<u8>> = listed.iter().map(Vec::clone).collect();
    let other: Vec<Vec<u8>> = (0..asked).map(|_| wire(&format!("x-{}", name(&mut numbers)))).collect();
    let before = resident();
    let few: Vec<Vec<u8>> = other.iter().take(1000).cloned().collect();
    let time = |what: &str, names: &[Vec<u8>], rounds: usize| {
        let start = processor_time();
        let mut blocked = 0;
        for _ in 0..rounds {
            for name in names {
                blocked += usize::from(compiled.decide(black_box(name), &view).is_block());
            }
        }
        let all = names.len() * rounds;
        let each = (processor_time() - start) / all as f64;
        let (resident, private) = resident();
        let (first, private_first) = before;
        println!(
            "{what}{each:7.1} ns each, {blocked} of {all} blocked, resident +{} MB, private +{} MB",
            resident.saturating_sub(first),
            private.saturating_sub(private_first)
        );
    };
    time("allowed, 1000 names   ", &few, 1000);
    time("allowed, first time   ", &other, 1);
    time("allowed, again        ", &other, 1);
    time("blocked, 1000 names   ", &listed[..1000], 1000);
    time("blocked, first time   ", &listed, 1);
    time("blocked, again        ", &listed, 1);
}
