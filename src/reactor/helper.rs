//! Threads for the calls that only wait: to resolve a name, to reserve space, to flush or write back, to read
//! certificates.
//!
//! The thread starts with the first job, so that an idle process has one thread. It is never
//! joined: a resolver that hangs must not hold up the exit.

use mio::Waker;
use std::any::Any;
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender, SyncSender};
use std::sync::Arc;
use std::thread;

/// Jobs handed in and not yet taken back as results.
pub const PENDING_MAX: usize = 256;

/// One thread that does one kind of work, in the order in which it is asked.
pub struct Helper<J, R> {
    name: &'static str,
    waker: Arc<Waker>,
    work: fn(J) -> R,
    /// `None` until the first job.
    thread: Option<Ends>,
    pending: usize,
}

/// A job or a result. All channels carry the same, so that the program has their code once.
type Parcel = Box<dyn Any + Send>;

/// The loop's ends of the two channels.
struct Ends {
    jobs: SyncSender<Parcel>,
    results: Receiver<Parcel>,
}

impl<J: Send + 'static, R: Send + 'static> Helper<J, R> {
    /// A helper whose thread will be called `name`, and which wakes `waker` after each job.
    #[must_use]
    pub fn spawn(name: &'static str, waker: Arc<Waker>, work: fn(J) -> R) -> Self {
        Self { name, waker, work, thread: None, pending: 0 }
    }

    /// Hands in a job. Never waits.
    ///
    /// # Errors
    /// Gives the job back when [`PENDING_MAX`] are under way or no thread can be had.
    pub fn submit(&mut self, job: J) -> Result<(), J> {
        if self.pending >= PENDING_MAX {
            return Err(job);
        }
        let ends = match self.thread.take().or_else(|| self.start()) {
            Some(ends) => self.thread.insert(ends),
            None => return Err(job),
        };
        match ends.jobs.try_send(Box::new(job)) {
            Ok(()) => {
                self.pending += 1;
                Ok(())
            }
            Err(refused) => {
                use std::sync::mpsc::TrySendError::{Disconnected, Full};
                let (Disconnected(job) | Full(job)) = refused;
                job.downcast().map_or(Ok(()), |job| Err(*job))
            }
        }
    }

    /// The next result, in the order of the jobs, if there is one.
    pub fn poll(&mut self) -> Option<R> {
        let result = self.thread.as_ref()?.results.try_recv().ok()?;
        self.pending -= 1;
        result.downcast().ok().map(|result| *result)
    }

    /// Jobs whose results have not been taken.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending
    }

    fn start(&self) -> Option<Ends> {
        let (jobs, to_do) = sync_channel(PENDING_MAX);
        let (done, results) = channel();
        let (waker, work) = (Arc::clone(&self.waker), self.work);
        let thread = thread::Builder::new()
            .name(self.name.to_owned())
            .stack_size(1024 * 1024)
            .spawn(move || serve(&to_do, &done, &waker, work));
        match thread {
            Ok(_never_joined) => Some(Ends { jobs, results }),
            Err(error) => {
                log::warn!("cannot start the thread {}: {error}", self.name);
                None
            }
        }
    }
}

/// Works until the loop's ends are dropped.
fn serve<J: 'static, R: Send + 'static>(
    to_do: &Receiver<Parcel>,
    done: &Sender<Parcel>,
    waker: &Waker,
    work: fn(J) -> R,
) {
    for job in to_do {
        let Ok(job) = job.downcast() else { return };
        if done.send(Box::new(work(*job))).is_err() {
            return;
        }
        if let Err(error) = waker.wake() {
            log::warn!("cannot wake the loop: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::{Duration, Instant};

    fn woken(poll: &mut Poll) -> bool {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        events.iter().any(|event| event.token() == Token(7))
    }

    #[test]
    fn results_wake_the_loop_in_order() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let mut helper = Helper::spawn("double", waker, |n: u32| n * 2);
        assert!(helper.thread.is_none());
        assert_eq!(helper.poll(), None);
        for n in 0..10 {
            helper.submit(n).unwrap();
        }
        let mut results = Vec::new();
        while results.len() < 10 {
            assert!(woken(&mut poll));
            results.extend(core::iter::from_fn(|| helper.poll()));
        }
        assert_eq!(results, (0..10).map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!(helper.pending(), 0);
    }

    #[test]
    fn a_hung_job_bounds_the_queue_and_does_not_hold_the_drop() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let (hold, held) = sync_channel::<()>(0);
        let mut helper =
            Helper::spawn("hang", waker, |held: Arc<std::sync::Mutex<Receiver<()>>>| {
                let _ = held.lock().unwrap().recv();
            });
        let held = Arc::new(std::sync::Mutex::new(held));
        for _ in 0..PENDING_MAX {
            helper.submit(Arc::clone(&held)).unwrap();
        }
        assert!(helper.submit(Arc::clone(&held)).is_err());
        let before = Instant::now();
        drop(helper);
        assert!(before.elapsed() < Duration::from_secs(1));
        drop(hold);
    }
}
