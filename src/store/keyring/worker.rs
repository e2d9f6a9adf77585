//! A thread for what may block for as long as it likes.

use std::{io, sync::mpsc, time::Duration};

use tokio::sync::oneshot;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// One thread that owns a state and does one thing after another with it. While one of them hangs, whoever else asks
/// waits no longer than they would for their own; the thread ends with the worker, once it can.
pub(super) struct Worker<S> {
    jobs: mpsc::Sender<Job<S>>,
}

impl<S: Send + 'static> Worker<S> {
    pub(super) fn start(name: &str, mut state: S) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job<S>>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in waiting {
                job(&mut state);
            }
        })?;
        Ok(Self { jobs })
    }

    /// `None`: it is not done within the time. What has not been begun by then never is; what has may still be done.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = oneshot::channel();
        let job = move |state: &mut S| {
            if !answer.is_closed() {
                // Nobody may be waiting any more.
                let _unheard = answer.send(work(state));
            }
        };
        self.jobs.send(Box::new(job)).ok()?;
        tokio::time::timeout(within, answered).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future as _, poll_fn},
        pin::pin,
        task::Poll,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_holds_up_nobody_for_longer_than_their_time() {
        let worker = Worker::start("test", Vec::new()).expect("a thread");
        let second = Duration::from_secs(1);
        let (release, hangs) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let mut hung = pin!(worker.ask(second, move |done: &mut Vec<&str>| {
            begun.send(()).expect("it is waited for");
            let _released = hangs.recv();
            done.push("hung");
        }));
        poll_fn(|context| Poll::Ready(hung.as_mut().poll(context).is_ready())).await;
        has_begun.recv().expect("it begins");
        assert_eq!(hung.await, None);
        assert_eq!(worker.ask(second, |done| done.push("never begun")).await, None);
        release.send(()).expect("it waits");
        // Real threads: the paused clock goes on only while nothing else does.
        tokio::time::resume();
        let done = worker.ask(Duration::from_secs(60), |done| done.clone()).await;
        assert_eq!(done, Some(vec!["hung"]), "what was begun is done, what was given up is not");
    }
}
