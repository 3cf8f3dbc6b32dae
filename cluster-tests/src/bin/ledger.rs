//! Writes numbered records to a file, to a pipe (its standard output) and to a TCP connection with itself, then reads
//! file and connection back: none missing, none double, none out of order.
//!
//! usage: ledger FILE [RECORDS]; FILE must not exist, and is removed when all was right.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(file), Ok(records)) = (args.next(), args.next().map_or(Ok(900), |count| count.parse())) else {
        eprintln!("ledger: usage: ledger FILE [RECORDS]");
        return ExitCode::from(2);
    };
    match keep(&file, records) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("wrong: {error}");
            ExitCode::FAILURE
        }
    }
}

fn keep(file: &str, records: u64) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut connection = TcpStream::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?;
    let reader = thread::spawn(move || verify("connection", BufReader::new(peer), records));
    let mut ledger = OpenOptions::new().create_new(true).append(true).open(file)?;
    let mut pipe = io::stdout();
    for number in 1..=records {
        let line = record(number);
        ledger.write_all(line.as_bytes())?;
        pipe.write_all(line.as_bytes())?;
        connection.write_all(line.as_bytes())?;
        thread::sleep(INTERVAL);
    }
    drop(connection);
    reader.join().map_err(|_| io::Error::other("the reading thread panicked"))??;
    verify("file", BufReader::new(fs::File::open(file)?), records)?;
    fs::remove_file(file)
}

fn verify(place: &str, lines: impl BufRead, records: u64) -> io::Result<()> {
    let mut numbers = 1..=records;
    for line in lines.lines() {
        let (line, expected) = (line?, numbers.next().map(record));
        if expected.as_deref().and_then(|record| record.strip_suffix('\n')) != Some(&line) {
            return Err(io::Error::other(format!("{place}: {line:?} where {expected:?} was expected")));
        }
    }
    match numbers.next() {
        None => Ok(()),
        Some(missing) => Err(io::Error::other(format!("{place}: nothing from record {missing} on"))),
    }
}

/// Of varying length, so that records do not meet page or buffer boundaries regularly.
fn record(number: u64) -> String {
    format!("record {number} {}\n", "x".repeat(usize::try_from(number % 37).unwrap_or_default()))
}

const INTERVAL: Duration = Duration::from_millis(1);
