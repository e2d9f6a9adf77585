//! As long as a hook has not acknowledged what is delivered, the generations are touched again each minute, so that its
//! path unit starts it again. Where all have acknowledged, nothing wakes.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::assemble::Home;
use crate::{
    config::ConfigError,
    hint::Hint as _,
    model::{Behind, Time, Unit},
    operate::status::HookStatus,
};

/// A hook that has not acknowledged is started again this often.
const AGAIN: Duration = Duration::from_secs(60);
/// One that has not for so long is told of, once.
const LONG: Duration = Duration::from_secs(5 * 60);

/// What the hooks of a host do, and how they are made to do it.
pub(super) trait Hooked: Sync {
    /// Which have not acknowledged something, and what cannot be told.
    fn behind(&self) -> impl Future<Output = (Vec<Behind>, Vec<ConfigError>)> + Send;

    /// Starts those that follow the generations again.
    fn touch(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until there is another value to acknowledge.
    fn news(&self) -> impl Future<Output = ()> + Send;
}

impl Hooked for Home {
    async fn behind(&self) -> (Vec<Behind>, Vec<ConfigError>) {
        self.deliver.behind().await
    }

    async fn touch(&self) -> io::Result<()> {
        self.deliver.touch().await
    }

    async fn news(&self) {
        self.deliver.news().await;
    }
}

/// Looks after the hooks.
#[derive(Debug, Default)]
pub(super) struct HookWatch {
    state: Mutex<State>,
    again: Notify,
}

#[derive(Debug, Default)]
struct State {
    behind: BTreeMap<Unit, Since>,
    /// Faults that have been told.
    told: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Since {
    wall: Time,
    at: Instant,
    told: bool,
}

impl HookWatch {
    /// Looks at the hooks now, and touches the generations when it is time to. Never ends.
    pub(super) async fn follow(&self, host: &impl Hooked) {
        // At once: what was delivered by a former process may have been missed.
        let mut due = Some(Instant::now());
        loop {
            let (behind, faults) = host.behind().await;
            self.note(&behind, &faults);
            due = if behind.is_empty() { None } else { due.or(Some(Instant::now() + AGAIN)) };
            tokio::select! {
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Err(error) = host.touch().await {
                        tracing::error!("hooks cannot be started again: {error}");
                    }
                    due = Some(Instant::now() + AGAIN);
                }
                () = host.news() => {}
                () = self.again.notified() => {}
            }
        }
    }

    /// Something may have changed: a hook, or what it has acknowledged.
    pub(super) fn look(&self) {
        self.again.notify_one();
    }

    /// As things are now, for people. Also has [`Self::follow`] look.
    pub(super) async fn status(&self, host: &impl Hooked) -> Vec<HookStatus> {
        let (behind, faults) = host.behind().await;
        self.note(&behind, &faults);
        self.look();
        let state = self.state();
        let since = |unit: &Unit| state.behind.get(unit).map(|since| since.wall);
        let behind = behind.into_iter().map(|behind| {
            let since = since(&behind.unit);
            HookStatus::behind(behind, since)
        });
        behind.chain(faults.iter().map(HookStatus::faulty)).collect()
    }

    fn note(&self, behind: &[Behind], faults: &[ConfigError]) {
        let mut state = self.state();
        state.note_faults(faults);
        state.note_behind(behind, Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_behind(&mut self, behind: &[Behind], now: Instant) {
        self.behind.retain(|unit, since| {
            let stays = behind.iter().any(|behind| behind.unit == *unit);
            if since.told && !stays {
                tracing::info!("hook {unit} has acknowledged, or is gone");
            }
            stays
        });
        for Behind { unit, generations } in behind {
            let new = Since { wall: Time::now(), at: now, told: false };
            let since = self.behind.entry(unit.clone()).or_insert(new);
            if !since.told && now.duration_since(since.at) >= LONG {
                since.told = true;
                tracing::warn!(
                    "hook {unit} has not acknowledged {} since {:.0}: it may still hold what is about to end",
                    HookStatus::in_words(generations),
                    since.wall
                );
                tracing::warn!("hint: {}", HookStatus::where_to_look(unit));
            }
        }
    }

    fn note_faults(&mut self, faults: &[ConfigError]) {
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for (fault, text) in faults.iter().zip(&texts) {
            if !self.told.contains(text) {
                tracing::error!("{text}");
                fault.hint().iter().for_each(|hint| tracing::error!("hint: {hint}"));
            }
        }
        self.told = texts;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[derive(Default)]
    struct Host {
        behind: Mutex<Vec<Behind>>,
        looks: AtomicUsize,
        touches: AtomicUsize,
        news: Notify,
    }

    impl Host {
        fn is_behind(&self, generation: Option<u64>) {
            *self.behind.lock().expect("nobody panics") = generation.into_iter().map(behind).collect();
        }

        fn counts(&self) -> (usize, usize) {
            (self.looks.load(Ordering::Relaxed), self.touches.load(Ordering::Relaxed))
        }
    }

    impl Hooked for Host {
        async fn behind(&self) -> (Vec<Behind>, Vec<ConfigError>) {
            self.looks.fetch_add(1, Ordering::Relaxed);
            (self.behind.lock().expect("nobody panics").clone(), vec![])
        }

        async fn touch(&self) -> io::Result<()> {
            self.touches.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        async fn news(&self) {
            self.news.notified().await;
        }
    }

    fn behind(generation: u64) -> Behind {
        let name = "a".parse().expect("a name");
        Behind {
            unit: "telegraf".parse().expect("a unit"),
            generations: [(name, generation)].into_iter().collect(),
        }
    }

    fn follow(host: &Arc<Host>) -> Arc<HookWatch> {
        let watch = Arc::new(HookWatch::default());
        let (watching, host) = (watch.clone(), host.clone());
        tokio::spawn(async move { watching.follow(&*host).await });
        watch
    }

    /// A moment later than a timer that is due after so long.
    async fn pass(time: Duration) {
        tokio::time::sleep(time + Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_have_acknowledged_nothing_wakes() {
        let host = Arc::<Host>::default();
        let watch = follow(&host);
        pass(MINUTE * 60 * 24).await;
        assert_eq!(host.counts(), (1, 0), "looked at once, at the start");
        watch.look();
        host.news.notify_one();
        pass(MINUTE).await;
        let (looks, touches) = host.counts();
        assert!((2..=3).contains(&looks) && touches == 0, "{looks} looks, {touches} touches");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_is_started_again_each_minute_until_it_has_acknowledged() {
        let host = Arc::<Host>::default();
        follow(&host);
        pass(Duration::ZERO).await;
        host.is_behind(Some(2));
        host.news.notify_one();
        pass(Duration::from_secs(59)).await;
        assert_eq!(host.counts().1, 0, "the change itself starts it");
        pass(Duration::from_secs(1)).await;
        assert_eq!(host.counts().1, 1);
        pass(MINUTE * 9).await;
        assert_eq!(host.counts().1, 10);
        host.is_behind(None);
        pass(MINUTE).await;
        let counts = host.counts();
        assert!(counts.1 <= 11, "it is seen no later than with the next touch: {counts:?}");
        pass(MINUTE * 60).await;
        assert_eq!(host.counts(), counts);
    }

    #[tokio::test(start_paused = true)]
    async fn looking_again_does_not_put_off_the_next_start() {
        let host = Arc::<Host>::default();
        let watch = follow(&host);
        pass(Duration::ZERO).await;
        host.is_behind(Some(2));
        for _ in 0..30 {
            watch.look();
            host.news.notify_one();
            pass(Duration::from_secs(10)).await;
        }
        assert_eq!(host.counts().1, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_former_process_left_behind_is_taken_up_at_once() {
        let host = Arc::<Host>::default();
        host.is_behind(Some(2));
        let watch = follow(&host);
        pass(Duration::ZERO).await;
        assert_eq!(host.counts().1, 1);
        let status = watch.status(&*host).await;
        assert_eq!(status.len(), 1);
        assert!(status[0].since.is_some() && status[0].unit == "telegraf.service", "{status:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_long_is_told_of_once() {
        let (mut state, start) = (State::default(), Instant::now());
        let told = |state: &State| state.behind.values().filter(|since| since.told).count();
        state.note_behind(&[behind(2)], start);
        state.note_behind(&[behind(3)], start + LONG - Duration::from_secs(1));
        assert_eq!(told(&state), 0);
        let since = *state.behind.values().next().expect("one");
        state.note_behind(&[behind(4)], start + LONG);
        assert_eq!(told(&state), 1, "however many values it has missed");
        assert_eq!(state.behind.values().next().expect("one").at, since.at);
        state.note_behind(&[], start + LONG * 2);
        state.note_behind(&[behind(5)], start + LONG * 2);
        assert_eq!(told(&state), 0, "it is behind anew");
    }
}
