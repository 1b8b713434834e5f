//! The command line as data: the parser, the shell completions and the man pages all come from these definitions.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueHint};
use sheshi_resolver::Upstream;

/// Where a gateway's configuration lies unless a command is told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/sheshi/gateway.toml";

/// The gateway that makes public Wi-Fi safe, and proves it.
#[derive(Debug, Parser)]
#[command(
    name = "sheshi",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 refused input.\nThe firewall is held by a process of its own: see sheshi-guard --help."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of `sheshi`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway: filter, portal and firewall of one hotspot
    Gateway(ConfigArgs),
    /// Run the filtering resolver alone, for anybody, without root and without portal
    Resolve(ResolveArgs),
    /// Show every problem of policy and configuration files; touches nothing
    #[command(
        after_help = "The kind of a file is seen from its content: a [network] table makes it a gateway's configuration.\n\nExample: sheshi check /etc/sheshi/gateway.toml policy.toml"
    )]
    Check(CheckArgs),
    /// Compile a policy and its lists into the one file that gateways map into memory
    Compile(CompileArgs),
    /// Say which list, line and rule decide about a name
    #[command(
        after_help = "Examples:\n  sheshi explain pornhub.com\n  sheshi explain bet.example --group staff --at 2026-12-24T22:30:00+01:00\n  sheshi explain pornhub.com --policy policy.toml --json"
    )]
    Explain(ExplainArgs),
    /// Show what a running gateway does and how it is
    Status(ControlArgs),
    /// List the guests of a running gateway; lengthen, move or end a session
    #[command(
        after_help = "Examples:\n  sheshi guests\n  sheshi guests extend 02:00:00:00:00:01 2h\n  sheshi guests move 02:00:00:00:00:01 staff\n  sheshi guests end 02:00:00:00:00:01"
    )]
    Guests(GuestsArgs),
    /// List, make and end codes that admit guests
    #[command(
        after_help = "Codes are shown once, when they are made: the gateway keeps their hashes.\n\nExamples:\n  sheshi vouchers new desk --count 30 --time 8h --page codes.html\n  sheshi vouchers new class --devices 25 --time 2h --until 2026-12-24\n  sheshi vouchers end desk"
    )]
    Vouchers(VouchersArgs),
    /// List the records of consent, or erase one
    Consents(ConsentsArgs),
    /// End a guest's session and every open connection of the device
    Expel(ExpelArgs),
    /// List what guests object to, or answer an objection
    #[command(
        after_help = "An answer is what the guest reads under the objection's number. It lifts nothing: edit the policy for that.\n\nExamples:\n  sheshi objections\n  sheshi objections answer 4f7k2m9q --lift \"You are right, it is a chess club.\""
    )]
    Objections(ObjectionsArgs),
    /// Make a running gateway read its policy and lists anew; a broken one changes nothing
    Reload(ControlArgs),
    /// Let an edition of a list go live that was held because it shrank
    Approve(ApproveArgs),
    /// Make the report of a period: signed evidence in a folder that a certifier checks offline
    #[command(
        after_help = "Works while the gateway runs, and from its log when it does not.\n\nExamples:\n  sheshi report --period week -o report\n  sheshi report --period 2026-11-16..2026-11-23 --profile friendly-wifi -o report"
    )]
    Report(ReportArgs),
    /// Go back to an older generation of the policy, and stay there until `sheshi reload`
    Rollback(RollbackArgs),
    /// Join the city's dashboard with a code that an operator made there
    Join(JoinArgs),
    /// Sign what a person has checked, or enter it into a gateway's evidence
    Attest {
        /// What to do
        #[command(subcommand)]
        action: AttestAction,
    },
    /// Test a list with names that only the certifier knows
    Challenge {
        /// What to do
        #[command(subcommand)]
        action: ChallengeAction,
    },
    /// Check uplink, DNS, clock, lists, rules and certificate: one line each, with the fix
    Doctor(DoctorArgs),
    /// Send router advertisements on the guest side, with the portal's address (needs CAP_NET_RAW only)
    Advertise(ConfigArgs),
    /// Measure controls now, from the guest's side, and write down what comes of it
    #[command(
        after_help = "Exit codes: 0 all hold, 1 one fails, 3 one could not be told.\n\nExamples:\n  sheshi probe\n  sheshi probe SH-05 \"SH-10 p1\""
    )]
    Probe(ProbeArgs),
    /// Stop the filter for ten seconds, or search all that is kept for a marked name, and write down what comes of it
    #[command(
        after_help = "To be run as root, in the maintenance window: fail-safe leaves guests without DNS for ten seconds.\n\nExample: sheshi drill all"
    )]
    Drill(DrillArgs),
    /// Run the synthetic guest of a gateway: it joins like a phone and tries what it is told to
    Guest(ConfigArgs),
    /// Print the configuration of the DHCP server (dnsmasq) that fits a gateway's configuration
    Dnsmasq(ConfigArgs),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// The folder; made when missing
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

/// A command about one gateway's configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The gateway's configuration (TOML)
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
}

/// `sheshi resolve`.
#[derive(Debug, Args)]
#[command(
    after_help = "With none of --policy, --compiled and --block nothing is filtered but special-use names.\n\nExample: sheshi resolve --listen 127.0.0.1:5300 --upstream 9.9.9.9:53 --block adult=lists/porn.txt"
)]
pub struct ResolveArgs {
    /// Where to answer, UDP and TCP; may be repeated
    #[arg(long, value_name = "ADDR:PORT", required = true)]
    pub listen: Vec<SocketAddr>,
    /// Whom to ask what is not known; may be repeated, in order of preference
    #[arg(
        long,
        value_name = "UPSTREAM",
        required = true,
        long_help = "Whom to ask what is not known; may be repeated, in order of preference: ADDR:PORT, udp://ADDR, tcp://ADDR, tls://ADDR?name=NAME or https://ADDR/PATH?name=NAME. The last two may have &ca=FILE or &pin=BASE64 and are never asked in the clear"
    )]
    pub upstream: Vec<Upstream>,
    /// Where to answer over TLS (RFC 7858); may be repeated
    #[arg(long, value_name = "ADDR:PORT", requires = "certificate")]
    pub listen_tls: Vec<SocketAddr>,
    /// Where to answer over HTTPS at /dns-query (RFC 8484); may be repeated
    #[arg(long, value_name = "ADDR:PORT", requires = "certificate")]
    pub listen_https: Vec<SocketAddr>,
    /// The certificate of both with its chain (PEM), read again when it changes
    #[arg(long, value_name = "FILE", requires = "key", value_hint = ValueHint::FilePath)]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// The name in the certificate; with it, clients are told of both (RFC 9462)
    #[arg(long, value_name = "NAME", requires = "certificate")]
    pub name: Option<String>,
    /// Filter by this policy (TOML) and its lists
    #[arg(long, value_name = "FILE", group = "source", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// Filter by this compiled policy
    #[arg(long, value_name = "FILE", group = "source", value_hint = ValueHint::FilePath)]
    pub compiled: Option<PathBuf>,
    /// Block the names of this list under this category; may be repeated
    #[arg(long, value_name = "CATEGORY=PATH", group = "source", value_parser = parse_block)]
    pub block: Vec<(String, PathBuf)>,
    /// How many threads answer from cache and block list
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// How many queries a second one address may ask; 0 sets no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rate: u32,
    /// How much memory the cache may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub cache: u32,
}

/// `sheshi check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Policies and configurations (TOML)
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Print the problems as JSON
    #[arg(long)]
    pub json: bool,
}

/// `sheshi compile`.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// The policy (TOML); lists are found relative to it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub policy: PathBuf,
    /// Where the compiled policy goes; replaced as a whole or not at all
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Sign it with this Ed25519 private key (PKCS #8 PEM), for gateways that have its public half as policy_key
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub sign: Option<PathBuf>,
    /// A folder where editions of lists are kept: lists by URL are fetched into it when they are due
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub lists: Option<PathBuf>,
}

/// `sheshi explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The name
    pub name: String,
    /// For a guest of this group; the first group of the policy unless said
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// At this time (RFC 3339, or `unknown` for a gateway that does not know the time); now unless said
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// By this policy (TOML) and its lists, not the running gateway's
    #[arg(long, value_name = "FILE", group = "source", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// By this compiled policy, not the running gateway's
    #[arg(long, value_name = "FILE", group = "source", value_hint = ValueHint::FilePath)]
    pub compiled: Option<PathBuf>,
    /// By what the gateway of this configuration has in force
    #[arg(long, value_name = "FILE", group = "source", default_value = DEFAULT_CONFIG, value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A command to a running gateway.
#[derive(Debug, Args)]
pub struct ControlArgs {
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL")]
    pub control: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sheshi probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Controls, such as SH-05, or single probes, such as "SH-05 p1"; all unless said
    pub controls: Vec<String>,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL")]
    pub control: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sheshi drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Which drill
    #[arg(value_enum)]
    pub name: Drill,
    /// The gateway's configuration (TOML)
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Search this folder for the marked name too, such as one with logs; may be repeated
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub also: Vec<PathBuf>,
}

/// The drills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Drill {
    /// The filter is stopped: nothing unfiltered may be answered
    FailSafe,
    /// A random name is asked for, then everything that is kept is searched for it
    Marker,
    /// Both
    All,
}

/// `sheshi expel`.
#[derive(Debug, Args)]
pub struct ExpelArgs {
    /// The device's link-layer address, as `sheshi guests` shows it
    pub mac: sheshi_policy::Mac,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL")]
    pub control: PathBuf,
}

/// `sheshi approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The list, as `sheshi status` names it
    pub list: String,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL")]
    pub control: PathBuf,
}

/// `sheshi guests`.
#[derive(Debug, Args)]
pub struct GuestsArgs {
    /// What to do to one of them.
    #[command(subcommand)]
    pub action: Option<GuestsAction>,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL", global = true)]
    pub control: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do to a guest.
#[derive(Debug, Subcommand)]
pub enum GuestsAction {
    /// Let a session last this long from now
    Extend {
        /// The device's link-layer address
        mac: sheshi_policy::Mac,
        /// Such as 2h, at most 168h
        #[arg(value_parser = span)]
        time: std::time::Duration,
    },
    /// Move a session to another group of the policy
    Move {
        /// The device's link-layer address
        mac: sheshi_policy::Mac,
        /// The group
        group: String,
    },
    /// End a session and every open connection of the device
    End {
        /// The device's link-layer address
        mac: sheshi_policy::Mac,
    },
}

/// `sheshi vouchers`.
#[derive(Debug, Args)]
pub struct VouchersArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<VouchersAction>,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL", global = true)]
    pub control: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with codes.
#[derive(Debug, Subcommand)]
pub enum VouchersAction {
    /// Make a batch of codes
    New {
        /// What the batch is called
        name: String,
        /// How many codes
        #[arg(long, value_name = "N", default_value_t = 1)]
        count: u32,
        /// How long each device may be online, such as 8h
        #[arg(long, value_name = "TIME", default_value = "8h", value_parser = span)]
        time: std::time::Duration,
        /// How many devices may use one code
        #[arg(long, value_name = "N", default_value_t = 1)]
        devices: u32,
        /// The group of who uses one; the guests' own unless said
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// The last day on which a code can be used
        #[arg(long, value_name = "DAY")]
        until: Option<jiff::civil::Date>,
        /// Write a page to be printed, with QR codes, instead of printing the codes
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        page: Option<PathBuf>,
    },
    /// Make the codes of a batch invalid
    End {
        /// The batch
        name: String,
    },
}

/// `sheshi consents`.
#[derive(Debug, Args)]
pub struct ConsentsArgs {
    /// What to do with one of them.
    #[command(subcommand)]
    pub action: Option<ConsentsAction>,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL", global = true)]
    pub control: PathBuf,
}

/// What to do with a record of consent.
#[derive(Debug, Subcommand)]
pub enum ConsentsAction {
    /// Erase one
    Erase {
        /// Its pseudonym
        pseudonym: String,
    },
}

/// `sheshi objections`.
#[derive(Debug, Args)]
pub struct ObjectionsArgs {
    /// What to do with one of them.
    #[command(subcommand)]
    pub action: Option<ObjectionsAction>,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL", global = true)]
    pub control: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with an objection.
#[derive(Debug, Subcommand)]
pub enum ObjectionsAction {
    /// Note the decision about an objection, for the guest to read
    #[command(group = clap::ArgGroup::new("decision").required(true))]
    Answer {
        /// Its number
        number: String,
        /// The block is lifted
        #[arg(long, group = "decision")]
        lift: bool,
        /// The block stays
        #[arg(long, group = "decision")]
        keep: bool,
        /// What the guest reads besides
        #[arg(default_value = "")]
        answer: String,
    },
}

/// `sheshi report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// day, week or month (the last whole one, UTC), a length that ends now (24h, 7d), or FROM..TO
    #[arg(long, value_name = "PERIOD", default_value = "day")]
    pub period: String,
    /// Judge by this profile, a built-in one or the city's own file; that of the configuration unless said
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// A new folder for the report
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
    /// The gateway's configuration (TOML)
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// The running gateway's control socket; that of the configuration unless said
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sheshi rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The generation; the one before that in force unless said
    pub generation: Option<u64>,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL")]
    pub control: PathBuf,
}

/// `sheshi join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The code, as the dashboard's page Fleet shows it
    pub code: String,
    /// The running gateway's control socket
    #[arg(long, value_name = "SOCKET", default_value = crate::config::DEFAULT_CONTROL, env = "SHESHI_CONTROL")]
    pub control: PathBuf,
}

/// `sheshi attest`.
#[derive(Debug, Subcommand)]
pub enum AttestAction {
    /// Sign a statement about one probe of a control; needs no gateway
    #[command(
        after_help = "Make a key with: openssl genpkey -algorithm ed25519 -out person.key (umask 077)\n\nExample:\n  sheshi attest sign SH-28 p2 --key person.key --by \"A. Hoxha, RDI\" --text \"Walked the square\" --from 2026-11-23 --to 2027-11-23 -o paper.json"
    )]
    Sign(AttestSign),
    /// Write a signed statement into the gateway's log, when its signer is one of the configuration's people
    Enter {
        /// The signed statement
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The gateway's configuration (TOML)
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, value_hint = ValueHint::FilePath)]
        config: PathBuf,
        /// The running gateway's control socket; that of the configuration unless said
        #[arg(long, value_name = "SOCKET")]
        control: Option<PathBuf>,
    },
}

/// `sheshi attest sign`.
#[derive(Debug, Args)]
pub struct AttestSign {
    /// The control, such as SH-28
    pub control: String,
    /// Its probe, such as p2
    pub probe: String,
    /// The person's key: Ed25519, PEM, mode 600
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
    /// Name and office
    #[arg(long)]
    pub by: String,
    /// What was checked, in the person's words
    #[arg(long)]
    pub text: String,
    /// What was found
    #[arg(long, value_enum, default_value = "pass")]
    pub outcome: crate::certifier::Said,
    /// A count or measure; may be repeated
    #[arg(long, value_name = "NAME=NUMBER")]
    pub figure: Vec<String>,
    /// A document whose digest goes in
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub document: Option<PathBuf>,
    /// From which day on it counts (UTC)
    #[arg(long, value_name = "DATE")]
    pub from: String,
    /// Until which day, not included (UTC)
    #[arg(long, value_name = "DATE")]
    pub to: String,
    /// A new file for the signed statement
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
}

/// `sheshi challenge`.
#[derive(Debug, Subcommand)]
pub enum ChallengeAction {
    /// Draw one-time names into a new folder; print the commitment to give away beforehand
    New {
        /// The zone that the names are under
        #[arg(long)]
        zone: String,
        /// How many names
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
        /// A new folder, for the certifier alone
        #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
        output: PathBuf,
    },
    /// Print the keyed hashes of the names: what joins the hashed list, and all that a gateway gets
    Entries {
        /// The folder of the challenge
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// The list's key (`key_file` of the policy)
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        list_key: PathBuf,
    },
    /// Say how many of the names were blocked, with its 95 % interval, and the figures for `attest sign`
    Score {
        /// The folder of the challenge
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// The names that were blocked, one a line
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        blocked: PathBuf,
    },
}

/// `sheshi doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The gateway's configuration (TOML)
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| std::time::Duration::try_from(span).ok());
    span.ok_or_else(|| "want a time such as 2h or 90m".into())
}

fn parse_block(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((category, path)) if !category.is_empty() && !path.is_empty() => Ok((category.into(), path.into())),
        _ => Err("want CATEGORY=PATH, such as adult=lists/porn.txt".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn block_wants_category_and_path() {
        assert_eq!(parse_block("adult=a=b"), Ok(("adult".into(), "a=b".into())));
        for text in ["adult", "=a", "adult=", ""] {
            assert!(parse_block(text).is_err(), "{text}");
        }
    }
}
