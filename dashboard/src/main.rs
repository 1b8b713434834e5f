//! The `sheshi-dashboard` command: reads the command line, does what it says, and turns the outcome into an exit code.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use jiff::tz::TimeZone;
use sheshi_dashboard::{Dashboard, Error, Public, Settings};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
};

/// The city's server: gateways, policy, people.
#[derive(Parser)]
#[command(name = "sheshi-dashboard", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the pages and the API for gateways.
    Serve(ServeArgs),
    /// Makes a one-time code with which somebody sets a new password.
    Code {
        /// The name they sign in with.
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Makes a one-time code with which a gateway joins: `sheshi join CODE` there.
    JoinCode {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lists the gateways: how each stands, when it was heard, its site and fingerprint.
    Gateways {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lets a gateway in that waits, after comparing its fingerprint with the one that `sheshi join` showed.
    Approve {
        /// The whole fingerprint; spaces do not matter.
        #[arg(required = true, num_args = 1.., value_name = "FINGERPRINT")]
        fingerprint: Vec<String>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Follows the audit log's chain and prints its head.
    Audit {
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Args)]
struct DataArgs {
    /// The folder of everything that is kept.
    #[arg(long, value_name = "DIR", env = "SHESHI_DATA", default_value = "/var/lib/sheshi-dashboard")]
    data: PathBuf,
}

#[derive(Args)]
struct ServeArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Listen on this Unix socket, too: for a proxy with a certificate on this machine.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    /// The folder that policies name their lists in [default: `lists` in the data folder].
    #[arg(long, value_name = "DIR")]
    lists: Option<PathBuf>,
    /// How browsers reach this server, where a proxy with a certificate stands before it: https://wifi.tirana.example.
    #[arg(long, value_name = "URL")]
    public: Option<Public>,
    /// Lets passwords cross a network unencrypted: for a network that is yours alone.
    #[arg(long)]
    plain_http: bool,
    /// The zone in which people read times.
    #[arg(long, value_name = "ZONE", default_value = "Europe/Tirane")]
    time_zone: String,
}

fn main() -> ExitCode {
    let log = tracing_subscriber::EnvFilter::try_from_env("SHESHI_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).with_target(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return told(&format!("starting threads: {error}"), 1),
    };
    match runtime.block_on(run(Cli::parse().command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ Error::Setting { .. }) => told(&error.to_string(), 2),
        Err(error) => told(&error.to_string(), 1),
    }
}

fn told(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}

/// Prints for the person at the console. A console that is gone is no reason to end.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
    let _ = std::io::stdout().flush();
}

async fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Serve(args) => serve(args).await,
        Command::Code { name, data } => {
            let code = Dashboard::open(local(data.data))?.password_code(&name).await?;
            let code = code.ok_or_else(|| Error::Setting {
                setting: "NAME",
                wrong: format!("nobody is called {name:?}"),
                right: "want the name they sign in with".into(),
            })?;
            say(&format!("{name} sets a new password on the page /join with this code, within two days: {code}"));
            Ok(())
        }
        Command::JoinCode { data } => {
            let code = Dashboard::open(local(data.data))?.claim_code().await?;
            say(&format!("within an hour, on the gateway: sheshi join {code}"));
            Ok(())
        }
        Command::Gateways { data } => {
            for line in Dashboard::open(local(data.data))?.gateways().await? {
                let heard = line.heard.map_or("never heard".into(), |ago| format!("heard {ago} s ago"));
                say(&format!("{:<12} {heard:<20} {}  {}", line.state, line.site, line.fingerprint));
            }
            Ok(())
        }
        Command::Approve { fingerprint, data } => {
            let fingerprint = fingerprint.concat();
            if Dashboard::open(local(data.data))?.approve(&fingerprint).await? {
                say("approved");
                return Ok(());
            }
            Err(Error::Setting {
                setting: "FINGERPRINT",
                wrong: "no gateway with this fingerprint waits".into(),
                right: "want one that `sheshi-dashboard gateways` lists as pending, whole".into(),
            })
        }
        Command::Audit { data } => {
            let (count, head) = Dashboard::open(local(data.data))?.check_audit().await?;
            say(&format!("{count} entries, each fits the one before. Head: {head}"));
            Ok(())
        }
    }
}

fn local(data: PathBuf) -> Settings {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings { listen, data, lists: None, public: None, plain_http: false, zone: TimeZone::UTC }
}

/// A socket that a predecessor left is in the way. Who may speak there is decided by the folder it lies in.
fn bind(path: &Path) -> Result<UnixListener, Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(path),
    }
    .map_err(|error| Error::Setting {
        setting: "--socket",
        wrong: format!("{}: {error}", path.display()),
        right: "want a path in a folder that is ours to write".into(),
    })
}

async fn serve(args: ServeArgs) -> Result<(), Error> {
    let zone = TimeZone::get(&args.time_zone).map_err(|error| Error::Setting {
        setting: "--time-zone",
        wrong: error.to_string(),
        right: "want a name such as Europe/Tirane".into(),
    })?;
    let mut settings = Settings {
        listen: args.listen,
        data: args.data.data,
        lists: args.lists,
        public: args.public,
        plain_http: args.plain_http,
        zone,
    };
    let listening = |source| Error::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(listening)?;
    settings.listen = listener.local_addr().map_err(listening)?;
    let address = match &settings.public {
        Some(public) => format!("https://{}", public.host),
        None => format!("http://{}", settings.listen),
    };
    let socket = args.socket.as_deref().map(bind).transpose()?;
    let dashboard = Dashboard::open(settings)?;
    match dashboard.check_audit().await {
        Ok((count, head)) => tracing::info!("audit log: {count} entries, head {head}"),
        // The gateways and the page that shows this go on.
        Err(error) => tracing::error!("{error}"),
    }
    say(&format!("sheshi-dashboard serves {address}"));
    if let Some(code) = dashboard.owner_code().await? {
        say(&format!("There is no owner yet. Open {address}/first and give this code, within a day:\n\n    {code}\n"));
    }
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(listening)?, signal(SignalKind::terminate()).map_err(listening)?);
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    dashboard.serve(listener, socket, shutdown).await;
    if let Some(path) = &args.socket {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}
