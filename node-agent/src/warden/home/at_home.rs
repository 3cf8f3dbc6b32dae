//! What home's own hands do for a move, when the program leaves and when it comes back.

use migration::handoff::{Answer, Ask};

use super::HomeWarden;

impl HomeWarden {
    /// Does it; `None` where no answer is needed.
    pub(super) async fn at_home(&mut self, ask: Ask) -> Result<Option<Answer>, String> {
        match ask {
            Ask::Prepare(epoch) => {
                self.expect_memory()?;
                Ok(Some(Answer::Prepared(epoch)))
            }
            Ask::Accept(epoch, whole) => {
                self.bring_home(whole).await?;
                Ok(Some(Answer::Accepted(epoch, whole)))
            }
            Ask::Start(epoch) => {
                self.let_all_go()?;
                Ok(Some(Answer::Runs(epoch)))
            }
            Ask::Copy(epoch) => {
                self.copy_out().await?;
                Ok(Some(Answer::Copied(epoch)))
            }
            Ask::Stop(epoch) => {
                self.stop_program()?;
                Ok(Some(Answer::Stopped(epoch)))
            }
            Ask::Take(epoch) => {
                let whole = self.take_program_out().await?;
                Ok(Some(Answer::Taken(epoch, whole)))
            }
            Ask::GoOn { epoch, .. } => {
                self.go_on_at_home();
                Ok(Some(Answer::Runs(epoch)))
            }
            // Of a family that did not come home there is nothing here to end: its deputies go on.
            Ask::Discard(_) if self.deputy.is_some() => Ok(None),
            Ask::Discard(_) => self.become_deputy().map(|()| None),
        }
    }
}
