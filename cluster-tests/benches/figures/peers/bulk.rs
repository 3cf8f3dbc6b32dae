//! Bytes from one node to another over TCP, plain and with TLS 1.3 by rustls. Neither end does anything with them:
//! they come from one buffer and go to another one.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use cluster_tests::lab::{LabNode, Program, User};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::PEER;
use crate::ground::{Bench, PATIENCE, Result};

/// How the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    Tls,
}

impl Carrier {
    pub(super) fn parse(name: &str) -> Result<Carrier> {
        match name {
            "tcp" => Ok(Carrier::Tcp),
            "tls" => Ok(Carrier::Tls),
            _ => Err(format!("no such carrier: {name}").into()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Carrier::Tcp => "tcp",
            Carrier::Tls => "tls",
        }
    }
}

/// Megabytes per second from `n1` to `n2`, until the last byte is there, with two new processes.
pub(crate) fn bulk(bench: &Bench, carrier: Carrier, bytes: u64) -> Result<f64> {
    let (from, to) = (bench.lab.node(1), bench.lab.node(2));
    let sink = peer(to, &["sink", carrier.name(), &to.address().to_string()])?;
    let (addr, certificate) = {
        let said = std::cell::Cell::new(String::new());
        sink.wait_for_output(PATIENCE, |output| {
            said.set(String::from_utf8_lossy(output).into_owned());
            output.ends_with(b"\n")
        })?;
        let said = said.into_inner();
        let (addr, certificate) = said.trim().split_once(' ').ok_or("where does it listen?")?;
        (addr.to_owned(), certificate.to_owned())
    };
    let source = peer(from, &["source", carrier.name(), &addr, &bytes.to_string(), &certificate])?;
    let answer = source.finish(PATIENCE)?;
    let seconds: f64 = answer.text().parse().map_err(|_| format!("{answer:?}"))?;
    sink.finish(PATIENCE)?;
    Ok(bytes as f64 / 1e6 / seconds)
}

fn peer(node: &LabNode, args: &[&str]) -> Result<cluster_tests::lab::Running> {
    let program = Program::new(std::env::current_exe()?).args(&[PEER]).args(args).user(User::Root);
    Ok(node.exec(&program)?)
}

/// Says where it listens and its certificate, reads one connection to its end, and answers with one byte.
pub(super) fn sink(carrier: Carrier, ip: IpAddr) -> Result<()> {
    let key = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = key.cert.der().clone();
    let listener = TcpListener::bind((ip, 0))?;
    let hex = certificate.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    println!("{} {hex}", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    match carrier {
        Carrier::Tcp => swallow(stream),
        Carrier::Tls => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
            let config = ServerConfig::builder_with_provider(Arc::new(provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)?;
            swallow(StreamOwned::new(ServerConnection::new(Arc::new(config))?, stream))
        }
    }
}

/// Sends so many bytes, waits for the answer, and says the seconds that this took.
pub(super) fn source(carrier: Carrier, addr: SocketAddr, bytes: u64, certificate: &str) -> Result<()> {
    let stream = TcpStream::connect(addr)?;
    let seconds = match carrier {
        Carrier::Tcp => pour(stream, bytes)?,
        Carrier::Tls => {
            let mut roots = RootCertStore::empty();
            let certificate: std::result::Result<Vec<u8>, _> = (0..certificate.len() / 2)
                .map(|at| u8::from_str_radix(&certificate[2 * at..2 * at + 2], 16))
                .collect();
            roots.add(CertificateDer::from(certificate?))?;
            let config = ClientConfig::builder_with_provider(Arc::new(provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(roots)
                .with_no_client_auth();
            let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(NAME)?)?;
            pour(StreamOwned::new(connection, stream), bytes)?
        }
    };
    println!("{seconds}");
    Ok(())
}

fn pour(mut stream: impl Read + Write, bytes: u64) -> Result<f64> {
    let buffer = vec![0x5a; BUFFER_BYTES];
    // The handshake is not counted.
    stream.write_all(&bytes.to_le_bytes())?;
    stream.read_exact(&mut [0])?;
    let began = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left)?.min(buffer.len());
        stream.write_all(&buffer[..count])?;
        left -= count as u64;
    }
    stream.flush()?;
    stream.read_exact(&mut [0])?;
    Ok(began.elapsed().as_secs_f64())
}

fn swallow(mut stream: impl Read + Write) -> Result<()> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    stream.write_all(&[1])?;
    stream.flush()?;
    let mut left = u64::from_le_bytes(bytes);
    let mut buffer = vec![0; BUFFER_BYTES];
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => left -= count as u64,
        }
    }
    stream.write_all(&[1])?;
    stream.flush()?;
    Ok(())
}

/// The suite that homing uses, so that ciphers are not compared.
fn provider() -> rustls::crypto::CryptoProvider {
    let cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    rustls::crypto::CryptoProvider { cipher_suites, ..ring::default_provider() }
}

const NAME: &str = "peer";
const BUFFER_BYTES: usize = 256 * 1024;
