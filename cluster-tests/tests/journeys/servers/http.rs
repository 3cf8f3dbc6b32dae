//! Clients of web servers: every body is compared, and every request must have been seen by the server once.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use cluster_tests::check::{Served, Talk};
use cluster_tests::lab::LabNode;

use super::inputs;

/// What the servers have in their directory: paths and contents.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    pages().iter().map(|(name, content)| (format!("/tmp/{name}"), content.clone())).collect()
}

/// Asks again and again, on one connection that must last.
pub(crate) fn talk_on_one_connection(talk: &mut Talk) -> Result<(), String> {
    let mut connection = connect(talk)?;
    while talk.goes_on() {
        let (number, client) = (talk.requests(), talk.number);
        talk.ask(|| ask(&mut connection, client, number, "keep-alive"))?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Asks again and again, on a new connection each time.
pub(crate) fn talk(talk: &mut Talk) -> Result<(), String> {
    while talk.goes_on() {
        let (number, client) = (talk.requests(), talk.number);
        let mut connection = connect(talk)?;
        talk.ask(|| ask(&mut connection, client, number, "close"))?;
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).map_err(|error| format!("at the end of an answer: {error}"))?;
        if !rest.is_empty() {
            return Err(format!("{} bytes after the end of an answer", rest.len()));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// nginx has logged each request once.
pub(crate) fn nginx_was_asked_once(home: &LabNode, served: &[Served]) -> Result<(), String> {
    was_asked_once(home, NGINX_LOG, served)
}

/// Python's server has logged each request once.
pub(crate) fn python_was_asked_once(home: &LabNode, served: &[Served]) -> Result<(), String> {
    was_asked_once(home, PYTHON_LOG, served)
}

fn was_asked_once(home: &LabNode, log: &str, served: &[Served]) -> Result<(), String> {
    let log = home.read_file(log).map_err(|error| error.to_string())?;
    let log = String::from_utf8_lossy(&log);
    let mut seen = HashMap::new();
    for asked in log.lines().filter_map(|line| line.split_once('?')?.1.split([' ', '"']).next()) {
        *seen.entry(asked.to_owned()).or_insert(0) += 1;
    }
    for (client, served) in served.iter().enumerate() {
        for number in 0..served.requests {
            match seen.remove(&query(client, number)) {
                Some(1) => {}
                times => {
                    return Err(format!("request {number} of client {client} was logged {times:?} times"));
                }
            }
        }
    }
    if seen.is_empty() { Ok(()) } else { Err(format!("requests were logged that nobody made: {seen:?}")) }
}

fn connect(talk: &Talk) -> Result<BufReader<TcpStream>, String> {
    let connection = TcpStream::connect_timeout(&talk.server, PATIENCE).and_then(|connection| {
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_nodelay(true).map(|()| connection)
    });
    connection.map(BufReader::new).map_err(|error| format!("cannot connect: {error}"))
}

fn ask(
    server: &mut BufReader<TcpStream>,
    client: usize,
    number: u64,
    connection: &str,
) -> Result<(), String> {
    let pages = pages();
    let (name, content) = &pages[usize::try_from(number).unwrap_or(0) % pages.len()];
    let query = query(client, number);
    let request = format!(
        "GET /{name}?{query} HTTP/1.1\r\nHost: n1\r\nAccept-Encoding: gzip\r\nConnection: {connection}\r\n\r\n"
    );
    let answered = |error: io::Error| format!("{name}: {error}");
    server.get_mut().write_all(request.as_bytes()).map_err(answered)?;
    let (status, headers) = head(server).map_err(answered)?;
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("{name}: {status:?}"));
    }
    let header = |name: &str| headers.get(name).map(String::as_str);
    let body = match (header("content-length"), header("transfer-encoding")) {
        (Some(length), None) => {
            sized(server, length.parse().map_err(|_| format!("{name}: {length:?} bytes"))?)
        }
        (None, Some("chunked")) => chunked(server),
        _ => return Err(format!("{name}: a body without a length: {headers:?}")),
    };
    let mut body = body.map_err(answered)?;
    if header("content-encoding") == Some("gzip") {
        body = unzip(&body).map_err(answered)?;
    }
    if body == *content {
        return Ok(());
    }
    let at = body.iter().zip(content).position(|(got, expected)| got != expected);
    Err(format!("{name}: {} bytes instead of {}, first difference at {at:?}", body.len(), content.len()))
}

/// The first line of an answer, and its headers in lower case.
fn head(server: &mut impl BufRead) -> io::Result<(String, HashMap<String, String>)> {
    let (mut status, mut headers) = (String::new(), HashMap::new());
    server.read_line(&mut status)?;
    loop {
        let mut line = String::new();
        server.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_lowercase()),
            None => return Ok((status, headers)),
        };
    }
}

fn sized(server: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    server.read_exact(&mut body).map(|()| body)
}

fn chunked(server: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        server.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        body.extend(sized(server, length)?);
        if sized(server, 2)? != b"\r\n" {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if length == 0 {
            return Ok(body);
        }
    }
}

fn unzip(zipped: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (mut input, zipped) = (gzip.stdin.take(), zipped.to_vec());
    let feeder = thread::spawn(move || input.as_mut().map_or(Ok(()), |input| input.write_all(&zipped)));
    let output = gzip.wait_with_output()?;
    match (feeder.join(), output.status.success()) {
        (Ok(Ok(())), true) => Ok(output.stdout),
        _ => Err(io::Error::other("the body is no gzip file")),
    }
}

fn query(client: usize, number: u64) -> String {
    format!("{client}-{number}")
}

fn pages() -> &'static [(&'static str, Vec<u8>)] {
    static PAGES: OnceLock<Vec<(&str, Vec<u8>)>> = OnceLock::new();
    PAGES.get_or_init(|| {
        [("small", 300), ("page", 20_000), ("large", 700_000), ("middle", 70_000)]
            .map(|(name, bytes)| (name, inputs::text(bytes)))
            .into()
    })
}

pub(crate) const PORT: u16 = 8000;
pub(crate) const NGINX_LOG: &str = "/tmp/nginx.log";
pub(crate) const PYTHON_LOG: &str = "/tmp/python.log";

/// Packs what is not small, which makes it compute, and keeps one connection for all requests.
pub(crate) const NGINX_HTTP: &str = "\
    access_log /tmp/nginx.log;
    keepalive_requests 1000000;
    sendfile on;
    gzip on;
    gzip_types *;
    gzip_comp_level 9;
    gzip_min_length 5000;";

/// Leaves the processor to the others between two requests.
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);
