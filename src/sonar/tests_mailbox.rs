//! The sync and its mailbox: dead letters, a store that takes nothing, pages that overtake one another.

use super::*;
use crate::{
    mailbox::{HandleError, Handlers, Limits, Mailroom, Queue, Which},
    sonar::MESSAGE_KIND,
};

/// The recorder, which does what it is told to do first.
struct Moody {
    recorder: Arc<dyn Handler>,
    mood: Mutex<Option<HandleError>>,
}

impl Handler for Moody {
    fn handle<'a>(&'a self, message: &'a Message) -> Pending<'a, Result<(), HandleError>> {
        let mood = self.mood.lock().clone();
        match mood {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.recorder.handle(message),
        }
    }
}

/// A bench with the embedded queue in the place of its mailbox.
fn queued(mood: HandleError) -> (Bench, Mailroom, Arc<Moody>) {
    let mut bench = Bench::new();
    let queue = Queue::open(bench.store.clone(), Arc::new(bench.clock.clone()), Limits::default());
    let moody = Arc::new(Moody { recorder: bench.mailbox.handler.clone(), mood: Mutex::new(Some(mood)) });
    let (mailroom, mut handlers) = (Mailroom::new(queue, None), Handlers::default());
    handlers.add(MESSAGE_KIND, moody.clone(), 1);
    mailroom.start(handlers, "here");
    bench.tools.mailbox = mailroom.mailbox();
    (bench, mailroom, moody)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_a_dead_letter_is_stored_by_a_later_sync_also_where_it_was_dropped() {
    let never = HandleError::Refused("never".to_owned());
    let (bench, mailroom, moody) = queued(never.clone());
    for day in 1..9 {
        bench.server.world().analyze("a", "main", NOW - day * DAY, &values(&day.to_string()));
    }
    for is_dropped in [false, true] {
        let summary = bench.sync(Scope::default()).await.unwrap();
        assert_eq!((summary.failed, mailroom.queue().depth().dead), (1, 1));
        assert!(bench.tools.board.problems()[0].message.contains("observatory mailbox"));
        if is_dropped {
            mailroom.discard(Which::All).await.unwrap();
        }
        *moody.mood.lock() = None;
        bench.good_sync().await;
        bench.assert_equals_source("a", "main");
        assert_eq!((mailroom.queue().depth().dead, mailroom.queue().depth().waiting), (0, 0));
        *moody.mood.lock() = Some(never.clone());
        bench.server.world().analyze("a", "main", NOW - HOUR, &values("100"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_while_nothing_can_be_stored_comes_to_its_end_and_what_it_read_is_stored_later() {
    let (bench, mailroom, moody) = queued(HandleError::Retry("no room".to_owned()));
    let projects: Vec<String> = (0..60).map(|number| format!("p{number:02}")).collect();
    for project in &projects {
        bench.server.world().analyze(project, "main", NOW - DAY, &values("5"));
    }
    let began = std::time::Instant::now();
    let summary = bench.sync(Scope::default()).await.unwrap();
    assert_eq!((summary.failed, mailroom.queue().depth().waiting), (60, 60));
    // Each alone would be waited for 600 ms, four at once.
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    // Another one puts nothing twice.
    bench.sync(Scope::default()).await.unwrap();
    assert_eq!(mailroom.queue().depth().waiting, 60);
    *moody.mood.lock() = None;
    bench.clock.advance(6 * 60_000);
    while mailroom.queue().depth().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    projects.iter().for_each(|project| bench.assert_equals_source(project, "main"));
    bench.good_sync().await;
}

#[tokio::test]
async fn older_history_that_is_asked_for_later_comes_page_by_page_and_each_once() {
    let mut bench = Bench::with(20_000);
    bench.config.history_ms = 10 * DAY * 1000;
    for index in 0..600 {
        bench.server.world().analyze("a", "main", NOW - 29 * DAY + index * 4_003, &values(&(index / 2).to_string()));
    }
    bench.good_sync().await;
    bench.config.history_ms = 29 * DAY * 1000 + HOUR * 1000;
    let before = bench.server.world().calls.len();
    bench.good_sync().await;
    bench.assert_equals_source("a", "main");
    let calls = bench.server.world().calls.len() - before;
    assert!(calls < 40, "{calls} calls");
}

#[tokio::test]
async fn a_page_that_another_one_overtook_is_read_again_and_changes_nothing_when_it_comes_late() {
    let bench = Bench::new();
    for (ago, lines) in [(20, Some("1")), (15, Some("2")), (10, None), (5, Some("3"))] {
        bench.server.world().analyze("a", "main", NOW - ago * DAY, &lines.map(values).unwrap_or_default());
        if ago == 15 {
            bench.mailbox.keeps.store(1, Ordering::SeqCst);
            assert_eq!(bench.sync(Scope::default()).await.unwrap().failed, 1);
        }
    }
    // What the first sync left in the mailbox is handled before what the second one put in.
    let left = bench.mailbox.kept.lock().pop();
    *bench.mailbox.instead.lock() = left;
    bench.good_sync().await;
    bench.assert_equals_source("a", "main");
    let late = bench.mailbox.kept.lock().pop().unwrap();
    bench.mailbox.handler.handle(&late).await.unwrap();
    bench.assert_equals_source("a", "main");
}
