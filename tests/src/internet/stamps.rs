//! A time-stamping authority (RFC 3161) of the lab's own: `openssl ts` behind just enough HTTP. Its root is `tsa/root.pem`.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use crate::{
    error::{Doing, LabError},
    plan,
};

const CONFIG: &str = "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=Lab time stamps\n\
    [stamp]\nextendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n\
    [tsa]\ndefault_tsa=lab\n[lab]\nserial=serial\ndefault_policy=1.2.3.4.1\ndigests=sha256\naccuracy=secs:1\ness_cert_id_alg=sha256\n";

/// Makes the authority's keys and answers from a thread of its own.
pub(super) fn start(folder: &Path) -> Result<(), LabError> {
    let folder = folder.join("tsa");
    fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
    for (name, text) in [("c.cnf", CONFIG), ("serial", "01\n")] {
        fs::write(folder.join(name), text).doing(|| format!("writing {name} of the time-stamping authority"))?;
    }
    for arguments in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out root.key",
        "req -new -x509 -key root.key -out root.pem -days 3650 -subj /CN=Lab-root -config c.cnf -sha256",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out tsa.key",
        "req -new -key tsa.key -out tsa.csr -config c.cnf",
        "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -set_serial 7 -out tsa.pem -days 3650 -sha256 -extfile c.cnf -extensions stamp",
    ] {
        openssl(&folder, arguments).doing(|| format!("running openssl {arguments}"))?;
    }
    let listener = TcpListener::bind((plan::ECHO_V4, plan::STAMPS_PORT)).doing(|| "starting the time stamps".into())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One after the other: they share a serial number. A caller that misbehaves hurts nobody but itself.
            let _ = answer(stream, &folder);
        }
    });
    Ok(())
}

fn openssl(folder: &Path, arguments: &str) -> std::io::Result<()> {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(std::io::Error::other(said)) }
}

fn answer(mut stream: TcpStream, folder: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut part = [0; 4_096];
    let query = loop {
        let read = stream.read(&mut part)?;
        request.extend_from_slice(&part[..read]);
        if let Some(body) = body(&request) {
            break body.to_vec();
        }
        if read == 0 || request.len() > 65_536 {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    };
    fs::write(folder.join("q.tsq"), query)?;
    openssl(folder, "ts -reply -queryfile q.tsq -signer tsa.pem -inkey tsa.key -config c.cnf -sha256 -out r.tsr")?;
    let reply = fs::read(folder.join("r.tsr"))?;
    let head = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: {}\r\n\r\n",
        reply.len()
    );
    stream.write_all(&[head.as_bytes(), &reply].concat())
}

/// The body of a request, when all of it is there.
fn body(request: &[u8]) -> Option<&[u8]> {
    let split = request.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&request[..split]).to_lowercase();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
    request.get(split + 4..split + 4 + length)
}
