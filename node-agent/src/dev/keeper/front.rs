//! The keeper's end of a conversation with the front.

use std::io;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport::frame::{Reader, Writer};

use super::protocol::{FromKeeper, ToKeeper};

/// The front that holds the nodes.
#[derive(Debug)]
pub(super) struct Front {
    pid: u32,
    wishes: mpsc::Receiver<ToKeeper>,
    words: mpsc::Sender<FromKeeper>,
    writing: JoinHandle<()>,
}

impl Front {
    pub(super) fn new(stream: UnixStream) -> io::Result<Front> {
        let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        let (reader, writer) = stream.into_split();
        let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
        let (wish, wishes) = mpsc::channel(WISHES_MAX);
        tokio::spawn(async move {
            while let Ok(Some((said, _))) = reader.recv::<ToKeeper>().await {
                if wish.send(said).await.is_err() {
                    return;
                }
            }
        });
        let (words, mut to_write) = mpsc::channel(WORDS_MAX);
        let writing = tokio::spawn(async move {
            while let Some(word) = to_write.recv().await {
                if writer.send::<FromKeeper>(&word, &[]).await.is_err() {
                    return;
                }
            }
        });
        Ok(Front { pid, wishes, words, writing })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it wants; `None` once it is gone.
    pub(super) async fn wish(&mut self) -> Option<ToKeeper> {
        self.wishes.recv().await
    }

    /// Tells it something. A front that reads nothing loses words, and a front that is gone needs none.
    pub(super) fn tell(&self, word: FromKeeper) {
        let _ = self.words.try_send(word);
    }

    /// Waits until it has heard everything.
    pub(super) async fn farewell(self) {
        drop(self.words);
        // One that reads nothing is left alone.
        let _ = timeout(FAREWELL_MAX, self.writing).await;
    }
}

const WISHES_MAX: usize = 4;
const WORDS_MAX: usize = 1024;
const FAREWELL_MAX: Duration = Duration::from_secs(1);
