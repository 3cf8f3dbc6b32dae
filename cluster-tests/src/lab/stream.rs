//! Pipes that are read while somebody waits for what they give.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What a pipe has given so far, read by a thread that ends with the pipe.
#[derive(Debug)]
pub(super) struct Stream {
    shared: Arc<(Mutex<Content>, Condvar)>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub(super) fn read(mut pipe: impl Read + Send + 'static) -> Stream {
        let shared = Arc::new((Mutex::new(Content::default()), Condvar::new()));
        let writer = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = pipe.read(&mut buffer).unwrap_or(0);
                let mut content = writer.0.lock().expect("no reader of it panics");
                content.bytes.extend_from_slice(&buffer[..count]);
                content.ended = count == 0;
                writer.1.notify_all();
                if content.ended {
                    return;
                }
            }
        });
        Stream { shared }
    }

    pub(super) fn wait(&self, patience: Duration, condition: impl Fn(&[u8]) -> bool) -> bool {
        self.wait_until(Instant::now() + patience, |content| condition(&content.bytes) || content.ended);
        condition(&self.shared.0.lock().expect("no reader of it panics").bytes)
    }

    pub(super) fn wait_end(&self, deadline: Instant) -> bool {
        self.wait_until(deadline, |content| content.ended)
    }

    fn wait_until(&self, deadline: Instant, condition: impl Fn(&Content) -> bool) -> bool {
        let patience = deadline.saturating_duration_since(Instant::now());
        let content = self.shared.0.lock().expect("no reader of it panics");
        let waited = self.shared.1.wait_timeout_while(content, patience, |content| !condition(content));
        !waited.expect("no reader of it panics").1.timed_out()
    }

    pub(super) fn so_far(&self) -> Vec<u8> {
        self.shared.0.lock().expect("no reader of it panics").bytes.clone()
    }

    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.0.lock().expect("no reader of it panics").bytes)
    }
}
