//! Notices an input that never comes to an end: nobody else could say which it was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Watches the thread that runs the inputs.
#[derive(Debug)]
pub(crate) struct Watch {
    present: Arc<Mutex<Present>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Present {
    input: Vec<u8>,
    /// Nothing runs if there is none.
    began: Option<Instant>,
}

impl Watch {
    /// Calls `on_stuck` once, on a thread of its own, with an input that runs for longer than `limit`.
    pub(crate) fn start(limit: Duration, on_stuck: impl FnOnce(&[u8]) + Send + 'static) -> Watch {
        let (present, over) = (Arc::new(Mutex::new(Present::default())), Arc::new(AtomicBool::new(false)));
        let (seen, ends) = (Arc::clone(&present), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                thread::park_timeout(limit / 4);
                let present = lock(&seen);
                if present.began.is_some_and(|began| began.elapsed() > limit) {
                    let input = present.input.clone();
                    drop(present);
                    return on_stuck(&input);
                }
            }
        });
        Watch { present, over, thread: Some(thread) }
    }

    /// From now on this input runs.
    pub(crate) fn begin(&self, input: &[u8]) {
        let mut present = lock(&self.present);
        present.input.clear();
        present.input.extend_from_slice(input);
        present.began = Some(Instant::now());
    }

    /// It has come to its end; how long it took.
    pub(crate) fn end(&self) -> Duration {
        lock(&self.present).began.take().map_or(Duration::ZERO, |began| began.elapsed())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its panic would be one of `on_stuck`, which has been heard.
            let _ = thread.join();
        }
    }
}

fn lock(present: &Mutex<Present>) -> MutexGuard<'_, Present> {
    present.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_an_input_that_does_not_end_is_told() {
        let (told, stuck) = mpsc::channel();
        let watch = Watch::start(Duration::from_millis(20), move |input| told.send(input.to_vec()).unwrap());
        watch.begin(b"short");
        watch.end();
        assert!(stuck.recv_timeout(Duration::from_millis(100)).is_err());
        watch.begin(b"endless");
        assert_eq!(stuck.recv_timeout(Duration::from_secs(10)).unwrap(), b"endless");
    }
}
