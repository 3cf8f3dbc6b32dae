//! A message there and back between two processes over TCP on the loopback, on tokio.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Local;
use crate::calls::Timed;
use crate::ground::Result;

/// So many round trips between two new processes.
pub(crate) fn ping_pong(count: u32) -> Result<Timed> {
    let mut echo = Local::start(&["echo"])?;
    let addr = echo.line()?;
    let answer = Local::start(&["ping", &addr, &count.to_string()])?.line()?;
    let numbers: Vec<f64> = answer.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [mean_us, p50_us, p99_us] = numbers[..] else { return Err(format!("it said {answer}").into()) };
    Ok(Timed { mean_us, p50_us, p99_us })
}

/// Says where it listens, and answers one connection.
pub(super) fn echo() -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut message = [0; MESSAGE_BYTES];
        while stream.read_exact(&mut message).await.is_ok() {
            stream.write_all(&message).await?;
        }
        Ok(())
    })
}

/// Says what the round trips took: mean, median and 99th percentile.
pub(super) fn ping(addr: SocketAddr, count: u32) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut message = [7; MESSAGE_BYTES];
        let mut times = Vec::with_capacity(count as usize);
        let began = Instant::now();
        for _ in 0..count {
            let before = Instant::now();
            stream.write_all(&message).await?;
            stream.read_exact(&mut message).await?;
            times.push(before.elapsed().as_secs_f64() * 1e6);
        }
        let mean = began.elapsed().as_secs_f64() * 1e6 / f64::from(count);
        times.sort_by(f64::total_cmp);
        println!("{mean} {} {}", times[times.len() / 2], times[times.len() - 1 - times.len() / 100]);
        Ok(())
    })
}

/// About what a call without buffers is.
const MESSAGE_BYTES: usize = 64;
