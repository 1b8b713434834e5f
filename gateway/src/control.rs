//! How `sheshi status`, `guests`, `expel` and `reload` talk to a running gateway: one line of JSON each way over a Unix
//! socket that only root and the gateway's own user may use.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sheshi_policy::Mac;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::guests::Ask;

/// What may be asked of a running gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How it is.
    Status,
    /// Who is admitted.
    Guests,
    /// End a session.
    Expel {
        /// Whose.
        mac: Mac,
    },
    /// Read policy and lists anew.
    Reload,
    /// About guests.
    About(Ask),
    /// What guests object to.
    Objections,
    /// Note what was decided about an objection.
    Decide {
        /// Its number.
        number: String,
        /// Whether the block is lifted; the policy does it.
        granted: bool,
        /// What who objected reads.
        answer: String,
    },
    /// Join the city's dashboard.
    Join {
        /// The code that an operator made.
        code: String,
    },
    /// Let the held edition of a list go live, and read all anew.
    Approve {
        /// Which list.
        list: String,
    },
    /// Record what a person has signed.
    Paper {
        /// The signed statement.
        paper: Box<sheshi_evidence::record::Paper>,
    },
    /// Make a report of a period into a folder of the gateway's own.
    Report {
        /// Its beginning.
        from: String,
        /// Its end, not included.
        to: String,
        /// A built-in profile, or the file of the city's own; that of the configuration unless said.
        profile: Option<String>,
    },
    /// Go back to an older generation.
    Rollback {
        /// Which; the one before that in force unless said.
        generation: Option<u64>,
    },
    /// Measure some controls now, or all.
    Probe {
        /// `SH-05`, or `SH-05 p1`; empty is all.
        controls: Vec<String>,
    },
    /// Write down what a drill has found.
    Record {
        /// What came of it.
        attempt: Box<sheshi_evidence::record::Attempt>,
    },
}

/// The answer: a value, or what went wrong.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// What was asked for.
    Done(serde_json::Value),
    /// It was refused as it stood: the input is at fault.
    Refused(String),
    /// It was tried and failed.
    Failed(String),
}

/// The gateway could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error(
        "no gateway answers at {path}: {source}\nfix: start it (systemctl start sheshi-gateway), or name its socket with --control"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("talk to the gateway: {0}")]
    Broken(#[from] std::io::Error),
    /// It said something else than we know.
    #[error("the gateway's answer is not understood (another version?): {0}")]
    Strange(#[from] serde_json::Error),
    /// The input is at fault.
    #[error("{0}")]
    Refused(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
}

/// Requests are tiny; whatever is longer is not one.
const LONGEST_REQUEST: u64 = 16 * 1024;

/// Asks the gateway whose socket this is.
pub fn ask<T: DeserializeOwned>(path: &Path, request: &Request) -> Result<T, ControlError> {
    let mut stream =
        UnixStream::connect(path).map_err(|source| ControlError::NotRunning { path: path.into(), source })?;
    // Compiling millions of names takes its time; everything else answers at once.
    stream.set_read_timeout(Some(Duration::from_secs(match request {
        Request::Join { .. } => 60,
        Request::Reload
        | Request::Approve { .. }
        | Request::Report { .. }
        | Request::Rollback { .. }
        | Request::Probe { .. } => 300,
        _ => 10,
    })))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match serde_json::from_str(&answer)? {
        Reply::Done(value) => Ok(serde_json::from_value(value)?),
        Reply::Refused(text) => Err(ControlError::Refused(text)),
        Reply::Failed(text) => Err(ControlError::Failed(text)),
    }
}

/// Answers requests until the listener is dropped. `answer` is called for each, one connection not waiting for another.
pub async fn serve<F, A>(path: &Path, answer: F) -> std::io::Result<()>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send,
{
    // A socket left by a predecessor that was killed is in the way of `bind`.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let (answer, ours) = (Arc::new(answer), nix::unistd::geteuid().as_raw());
    loop {
        let (stream, _) = listener.accept().await?;
        let peer = stream.peer_cred()?.uid();
        if peer != 0 && peer != ours {
            continue;
        }
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            // A caller that goes away hurts nobody but itself.
            let _ = converse(stream, &*answer).await;
        });
    }
}

async fn converse<F, A>(stream: tokio::net::UnixStream, answer: &F) -> std::io::Result<()>
where
    F: Fn(Request) -> A,
    A: Future<Output = Reply>,
{
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(LONGEST_REQUEST));
    let first = read.read_line(&mut line);
    tokio::time::timeout(Duration::from_secs(5), first).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => answer(request).await,
        Err(error) => Reply::Refused(format!("not a request: {error}")),
    };
    let mut text = serde_json::to_string(&reply)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn with_gateway<T: Send + 'static>(talk: impl FnOnce(&Path) -> T + Send + 'static) -> T {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (server, asked) = (path.clone(), path.clone());
        let task = tokio::spawn(async move {
            serve(&server, |request| async move {
                match request {
                    Request::Status => Reply::Done(serde_json::json!("well")),
                    Request::Expel { .. } => Reply::Refused("no such guest".into()),
                    _ => Reply::Failed("the guard is away".into()),
                }
            })
            .await
        });
        while UnixStream::connect(&path).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let result = tokio::task::spawn_blocking(move || talk(&asked)).await.unwrap();
        task.abort();
        result
    }

    #[tokio::test]
    async fn answers_reach_the_caller() {
        with_gateway(|path| {
            assert_eq!(ask::<String>(path, &Request::Status).unwrap(), "well");
            let mac = "02:00:00:00:00:01".parse().unwrap();
            assert!(matches!(ask::<()>(path, &Request::Expel { mac }), Err(ControlError::Refused(text)) if text == "no such guest"));
            assert!(matches!(ask::<()>(path, &Request::Guests), Err(ControlError::Failed(_))));
        })
        .await;
    }

    #[tokio::test]
    async fn nonsense_is_refused_and_harms_nobody() {
        with_gateway(|path| {
            let long = "x".repeat(100_000);
            for text in [
                "",
                "{}",
                "\"exit\"",
                "{\"expel\":{}}",
                "{\"status\":1}",
                "{\"expel\":{\"mac\":\"02:00:00:00:00:01\",\"more\":1}}",
                &long,
            ] {
                let mut stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let _ = stream.write_all(text.as_bytes());
                let _ = stream.write_all(b"\n");
                let mut answer = String::new();
                // A line over the limit may end in a reset: what was not read is thrown away with the connection.
                if BufReader::new(stream).read_line(&mut answer).is_ok() {
                    assert!(answer.starts_with("{\"refused\""), "{text:.20}: {answer}");
                }
            }
            assert_eq!(ask::<String>(path, &Request::Status).unwrap(), "well");
        })
        .await;
    }

    #[test]
    fn absent_gateway_is_named_with_the_fix() {
        let error = ask::<()>(Path::new("/nonexistent/control.sock"), &Request::Status).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/control.sock") && error.contains("fix:"), "{error}");
    }
}
