//! The front's end of the conversation with the keeper.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;
use transport::frame::{Reader, Writer};

use super::keeper::DEV_KEEPER_VERB;
use super::keeper::protocol::{FromKeeper, ToKeeper};
use super::places::Places;
use crate::exit::{ExitCode, Failure};

/// A hold on the nodes: they stay when it is dropped, and the next `homing dev` ends them.
#[derive(Debug)]
pub struct Hold {
    words: mpsc::Receiver<FromKeeper>,
    writer: Writer<OwnedWriteHalf>,
    /// The keeper, if this process has started it.
    child: Option<Child>,
}

impl Hold {
    /// Starts a keeper that makes `count` nodes; its first word says whether it could.
    ///
    /// # Errors
    /// When the keeper cannot be started.
    pub fn start(program: &Path, places: &Places, count: u8) -> Result<Hold, Failure> {
        let failed = |error| Failure::new(ExitCode::Failed, "cannot start the keeper of the nodes", error);
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut command = Command::new(program);
        command.args([DEV_KEEPER_VERB, "--nodes", &count.to_string()]);
        command.arg("--run-dir").arg(places.run()).arg("--socket").arg(places.socket()).current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        Ok(Hold { child: Some(child), ..Hold::new(UnixStream::from_std(ours).map_err(failed)?) })
    }

    /// Takes over from a front that died; `None` if no keeper is there.
    ///
    /// # Errors
    /// When another front holds the nodes, or the keeper does not answer.
    pub async fn take_over(places: &Places) -> Result<Option<Hold>, Failure> {
        let Ok(stream) = UnixStream::connect(places.keeper_socket()).await else { return Ok(None) };
        let mut hold = Hold::new(stream);
        let what = "cannot start nodes on this machine";
        match timeout(STOP_MAX, hold.hear()).await {
            Ok(Some(FromKeeper::Orphaned)) => Ok(Some(hold)),
            Ok(Some(FromKeeper::Held { by })) => {
                let why = format!("`homing dev` runs already, as process {by}");
                let next = format!("use its nodes (homing nodes), or end it first (kill {by})");
                Err(Failure::new(ExitCode::Failed, what, why).next(next))
            }
            // It was about to end, and has.
            Ok(_) => Ok(None),
            Err(_) => {
                let why = format!("a former one is there and says nothing for {} s", STOP_MAX.as_secs());
                let next = "see which process it is, with ps -C homing, and end it";
                Err(Failure::new(ExitCode::Failed, what, why).next(next))
            }
        }
    }

    /// The keeper's next word; `None` once it is gone. Nothing is lost when the caller stops waiting.
    pub async fn hear(&mut self) -> Option<FromKeeper> {
        self.words.recv().await
    }

    /// Lets the keeper bring every process home and end everything; `say` hears what it says of that.
    ///
    /// # Errors
    /// When it does not, or not in time.
    pub async fn stop(mut self, mut say: impl FnMut(&str)) -> Result<(), Failure> {
        let what = "cannot end the nodes";
        let stopping = async {
            // A keeper that is gone is noticed by the answer that does not come.
            let _ = self.writer.send(&ToKeeper::Stop, &[]).await;
            loop {
                match self.hear().await {
                    Some(FromKeeper::Said(sentence)) => say(&sentence),
                    Some(FromKeeper::Stopped) => return Ok(()),
                    Some(_) => {}
                    None => return Err(gone(what)),
                }
            }
        };
        let stopped = timeout(STOP_MAX, stopping).await.unwrap_or_else(|_| {
            let why = format!("they have not ended for {} s", STOP_MAX.as_secs());
            Err(Failure::new(ExitCode::UnderWay, what, why)
                .next("they may still end; the next `homing dev` tells"))
        });
        if let Some(mut child) = self.child.filter(|_| stopped.is_ok()) {
            // Its last word was its last act.
            let _ = child.wait();
        }
        stopped
    }

    fn new(stream: UnixStream) -> Hold {
        let (reader, writer) = stream.into_split();
        let (word, words) = mpsc::channel(WORDS_MAX);
        tokio::spawn(async move {
            let mut reader = Reader::new(reader);
            while let Ok(Some((said, _))) = reader.recv::<FromKeeper>().await {
                if word.send(said).await.is_err() {
                    return;
                }
            }
        });
        Hold { words, writer: Writer::new(writer), child: None }
    }
}

/// The failure for a keeper that died.
#[must_use]
pub fn gone(what: &str) -> Failure {
    let why = "the process that keeps the nodes has ended, and the nodes with it";
    Failure::new(ExitCode::Failed, what, why).next("start `homing dev` again: it removes what is left")
}

/// Words that wait for the caller; then the keeper's end of the conversation fills.
const WORDS_MAX: usize = 64;

/// Longer than all that a keeper waits for when it ends.
const STOP_MAX: Duration = Duration::from_secs(60);
