//! Lists by URL: fetches them when they are due, for as long as the gateway runs or once for `sheshi compile`, and says how
//! it goes: a line each on a terminal, a log entry elsewhere.

use std::{
    collections::HashMap,
    io::IsTerminal,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sheshi_lists::{Fetcher, Keeper, Limits, ListState, LookUp, Round, Step, Trust};
use sheshi_policy::{Policy, Source};

use crate::{
    commands::{Failure, failed, progress},
    generations,
    plan::Trouble,
};

/// When a policy that cannot be read is looked at again.
pub const LATER: Duration = Duration::from_secs(3600);

/// What fetches for this keeper, believing the authorities that the system believes.
pub fn fetcher(keeper: Keeper, look_up: LookUp) -> Fetcher {
    Fetcher::new(keeper, Trust::System, look_up, Limits::default())
}

/// Fetches what is due by a policy file; with `at_once`, every list. `None` when the file cannot be
/// read: whoever puts it in force says why.
pub async fn round(
    fetcher: &Fetcher,
    path: &Path,
    at_once: bool,
    told: &(dyn Fn(&str, Step) + Sync),
) -> Option<(Policy, Round)> {
    let policy = generations::read(path).ok()?;
    let round = fetcher.round(&policy, at_once, SystemTime::now(), told).await;
    Some((policy, round))
}

/// What to say when lists cannot be fetched.
pub fn trouble(policy: &Policy, keeper: &Keeper) -> Option<Trouble> {
    policy.lists.iter().filter(|list| matches!(list.source, Source::Url(_))).find_map(|list| {
        let known = keeper.subscription(list)?;
        let why = known.error.filter(|_| known.failures > 0)?;
        Some(Trouble::new(
            format!("list {} cannot be fetched ({} times in a row): {why}", list.name, known.failures),
            "see that its server can be reached from here; `sheshi reload` asks again at once",
        ))
    })
}

/// Compiles a policy whose lists are kept in a folder: those by URL are fetched first when they are due.
pub fn build(path: &Path, folder: &Path) -> Result<Vec<u8>, Failure> {
    let policy = generations::read(path)?;
    let keeper = Keeper::new(folder);
    let look_up: LookUp = Arc::new(|name: String| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 443)).await.map_err(|error| error.to_string())?;
            Ok::<Vec<IpAddr>, String>(found.map(|address| address.ip()).collect())
        })
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let told = teller();
    runtime.block_on(fetcher(keeper.clone(), look_up).round(&policy, true, SystemTime::now(), &told));
    let (bytes, lists) = generations::build_kept(path, &keeper, &mut progress())?;
    for list in lists {
        if let ListState::Held { reason, .. } = list.state {
            tracing::warn!(list = list.name, "a new edition is held, the last good one is compiled: {reason}");
        }
    }
    Ok(bytes)
}

/// Tells how fetches go on.
pub fn teller() -> impl Fn(&str, Step) + Send + Sync {
    let terminal = std::io::stderr().is_terminal();
    let all = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:>24} {bytes:>10} {msg}").expect("the template is right");
    let bars: Mutex<HashMap<String, ProgressBar>> = Mutex::default();
    move |list: &str, step: Step| {
        if !terminal {
            return log(list, step);
        }
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars
            .entry(list.to_owned())
            .or_insert_with(|| all.add(ProgressBar::new(0).with_style(style.clone()).with_prefix(list.to_owned())));
        match step {
            Step::Asked => bar.set_message("asked"),
            Step::Received(octets, of) => {
                bar.set_position(octets);
                bar.set_message(of.map_or(String::new(), |of| format!("of {} KiB", of >> 10)));
            }
            ended => {
                bar.abandon_with_message(words(&ended));
                bars.remove(list);
            }
        }
    }
}

fn log(list: &str, step: Step) {
    match step {
        Step::Received(..) => {}
        Step::Failed(..) => tracing::warn!(list, "{}", words(&step)),
        Step::Asked | Step::Unchanged | Step::Arrived(_) => tracing::info!(list, "{}", words(&step)),
    }
}

fn words(step: &Step) -> String {
    match step {
        Step::Asked => "asking for a newer edition".to_owned(),
        Step::Received(octets, _) => format!("{octets} octets received"),
        Step::Unchanged => "nothing newer".to_owned(),
        Step::Arrived(octets) => format!("{} KiB fetched and unpacked", octets >> 10),
        Step::Failed(why, again) => format!("not fetched: {why}; asking again in {} min", again.div_ceil(60)),
    }
}
