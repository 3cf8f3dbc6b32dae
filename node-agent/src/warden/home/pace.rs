//! How the home warden waits: for whatever comes next, with one timer for many events.

use std::time::Instant;

use ipc_home::deputy::DOZE_AFTER;

use super::HomeWarden;
use super::events::Event;

impl HomeWarden {
    /// The next event; meanwhile, threads without work are put to doze.
    pub(super) async fn next_event(&mut self) -> Option<Event> {
        loop {
            if self.waiter.has_missed() {
                return Some(Event::Children);
            }
            // Not one timer for each event: a new one that is the next to end makes the event loop wake itself. What
            // the timer was set for may be at work again when it ends; then the next one is set. A thread that has
            // been parked since may not wait for a timer that was set for something later.
            let now = Instant::now();
            if self.doze.as_ref().is_none_or(|doze| doze.deadline().into_std() > now + DOZE_AFTER) {
                let idle = self.deputy.as_mut().and_then(|deputy| deputy.idle(now));
                self.doze = idle.map(|due| Box::pin(tokio::time::sleep_until(due.into())));
                // Whoever was interrupted for it may have ended its call.
                self.effects();
                if self.waiter.has_missed() {
                    continue;
                }
            }
            let Some(doze) = &mut self.doze else { return self.alert.next(&mut self.inbox).await };
            tokio::select! {
                biased;
                () = doze => self.doze = None,
                event = self.alert.next(&mut self.inbox) => return event,
            }
        }
    }

    /// Everything that the kernel has to tell of the family.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((tid, event))) = self.waiter.any() {
            if let Some(deputy) = &mut self.deputy {
                deputy.event(tid, event);
            }
        }
    }
}
