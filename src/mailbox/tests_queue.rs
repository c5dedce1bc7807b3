//! The queue against a model: whatever is put, handled, crashed and replayed, nothing acknowledged is lost, nothing takes
//! effect twice, and no limit is passed.

use super::*;
use crate::{
    model::Labels,
    stdx::clock::ManualClock,
    store::{Outcome as Appended, SeriesId},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::oneshot;

const NOW_MS: i64 = 1_700_000_000_000;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;
type Waiting = oneshot::Sender<Result<(), StoreError>>;

/// Small state that is durable when it is told to be, and can lose what is not.
#[derive(Default)]
struct Disk(Mutex<DiskInner>);

#[derive(Default)]
struct DiskInner {
    durable: Pairs,
    current: Pairs,
    unsynced: Vec<(Vec<StateChange>, Waiting)>,
    full: bool,
}

impl Disk {
    fn sync(&self) {
        let mut inner = self.0.lock();
        inner.durable = inner.current.clone();
        for (_, ticket) in std::mem::take(&mut inner.unsynced) {
            let _ = ticket.send(Ok(()));
        }
    }

    /// Keeps the first `kept` records that were not synced.
    fn crash(&self, kept: usize) {
        let mut inner = self.0.lock();
        let mut durable = std::mem::take(&mut inner.durable);
        for (changes, _) in inner.unsynced.drain(..).take(kept) {
            apply(&mut durable, &changes);
        }
        (inner.current, inner.durable) = (durable.clone(), durable);
    }
}

fn apply(pairs: &mut Pairs, changes: &[StateChange]) {
    for change in changes {
        assert_eq!(change.tree, Tree::Mailbox);
        match &change.value {
            Some(value) => pairs.insert(change.key.clone(), value.clone()),
            None => pairs.remove(&change.key),
        };
    }
}

impl Appendable for Disk {
    fn series_id(&self, _: &Labels) -> Result<SeriesId, StoreError> {
        unreachable!("the mailbox appends no samples")
    }

    fn append(&self, batch: &WriteBatch) -> Result<Appended, StoreError> {
        let mut inner = self.0.lock();
        if inner.full {
            return Err(StoreError::DiskFull { free_bytes: 0, floor_bytes: 1 });
        }
        apply(&mut inner.current, &batch.state);
        let (sender, ticket) = Ticket::pending();
        inner.unsynced.push((batch.state.clone(), sender));
        Ok(Appended { refused: Vec::new(), ticket })
    }
}

impl StateStore for Disk {
    fn state(&self, _: Tree, key: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().current.get(key).cloned()
    }

    fn state_scan(&self, _: Tree, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let inner = self.0.lock();
        inner.current.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

fn message(id: &str, kind: &str, payload_bytes: usize) -> Message {
    Message {
        id: id.to_owned(),
        kind: kind.to_owned(),
        sender: "test".to_owned(),
        recipient: "metrics".to_owned(),
        payload: "x".repeat(payload_bytes),
        created_ms: NOW_MS,
    }
}

struct Bench {
    disk: Arc<Disk>,
    clock: ManualClock,
    limits: Limits,
    queue: Queue,
}

impl Bench {
    fn new(limits: Limits) -> Bench {
        let (disk, clock) = (Arc::new(Disk::default()), ManualClock::new(NOW_MS));
        let queue = Queue::open(disk.clone(), Arc::new(clock.clone()), limits);
        Bench { disk, clock, limits, queue }
    }

    fn crash(&mut self, kept: usize) {
        self.disk.crash(kept);
        self.queue = Queue::open(self.disk.clone(), Arc::new(self.clock.clone()), self.limits);
    }

    fn put(&self, message: Message) -> Result<(), PutError> {
        let (number, ticket) = self.queue.put_now(message)?;
        self.disk.sync();
        ticket.wait_blocking().unwrap();
        if let Some(number) = number {
            self.queue.is_durable(number);
        }
        Ok(())
    }

    fn take(&self) -> Option<Delivery> {
        let kinds = self.queue.ready_kinds();
        kinds.iter().find_map(|kind| self.queue.take(kind).unwrap())
    }
}

#[derive(Debug, Clone)]
enum Op {
    Put {
        id: u8,
        kind: u8,
        bytes: usize,
    },
    Sync,
    Handle(Verdict),
    /// A worker has it, and the process ends: before or after the handler did its work.
    CrashInFlight {
        done: bool,
        kept: usize,
    },
    Crash {
        kept: usize,
    },
    Restart,
    Wait(i64),
    Replay(Option<usize>),
    Discard(Option<usize>),
    Sweep,
    DiskFull(bool),
}

#[derive(Debug, Clone, Copy)]
enum Verdict {
    Ok,
    Retry,
    Refused,
}

fn op() -> impl Strategy<Value = Op> {
    let verdict = prop_oneof![4 => Just(Verdict::Ok), 2 => Just(Verdict::Retry), 1 => Just(Verdict::Refused)];
    prop_oneof![
        8 => (0..30_u8, 0..3_u8, 0..4_000_usize).prop_map(|(id, kind, bytes)| Op::Put { id, kind, bytes }),
        5 => Just(Op::Sync),
        8 => verdict.prop_map(Op::Handle),
        1 => (any::<bool>(), 0..4_usize).prop_map(|(done, kept)| Op::CrashInFlight { done, kept }),
        1 => (0..4_usize).prop_map(|kept| Op::Crash { kept }),
        1 => Just(Op::Restart),
        3 => (1..200_000_i64).prop_map(Op::Wait),
        1 => prop::option::of(0..3_usize).prop_map(Op::Replay),
        1 => prop::option::of(0..3_usize).prop_map(Op::Discard),
        1 => Just(Op::Sweep),
        1 => any::<bool>().prop_map(Op::DiskFull),
    ]
}

/// What must be true of each id.
#[derive(Default)]
struct Model {
    /// Put was answered with `Ok`.
    acknowledged: BTreeSet<u8>,
    /// Handlers that ran to their end; one for each crash in between may come on top.
    effects: HashMap<u8, u32>,
    forgiven: HashMap<u8, u32>,
    let_go: BTreeSet<u8>,
    tickets: Vec<(u8, u64, Ticket)>,
}

impl Model {
    /// Acknowledges what is durable; only after a sync, so that nothing blocks.
    fn settle(&mut self, queue: &Queue) {
        for (id, number, ticket) in self.tickets.drain(..) {
            if ticket.wait_blocking().is_ok() {
                queue.is_durable(number);
                self.acknowledged.insert(id);
            }
        }
    }

    fn effect(&mut self, message: &Message) {
        *self.effects.entry(message.id.parse().unwrap()).or_default() += 1;
    }

    fn check(&self, bench: &Bench) {
        let depth = bench.queue.depth();
        assert!(depth.bytes <= bench.limits.bytes_max, "{depth:?}");
        let inner = bench.queue.0.inner.lock();
        assert!(inner.index.dead_bytes() <= bench.limits.bytes_max / 2);
        assert_eq!(inner.index.in_flight(), 0);
        let sum: u64 = inner.index.entries().map(|(_, entry)| entry.bytes).sum();
        assert_eq!(sum, inner.index.bytes());
        for id in &self.acknowledged {
            let digest = record::digest(&id.to_string());
            let held = inner.index.number_of(&digest).is_some() || inner.handled.contains(&digest);
            let done = self.effects.contains_key(id) || self.let_go.contains(id);
            assert!(held || done, "{id} was acknowledged and is nowhere");
        }
        for (id, effects) in &self.effects {
            let allowed = 1 + self.forgiven.get(id).copied().unwrap_or(0);
            assert!(*effects <= allowed, "{id} took effect {effects} times, {allowed} are allowed");
        }
    }
}

fn number_of(bench: &Bench, id: u8) -> Option<u64> {
    bench.queue.0.inner.lock().index.number_of(&record::digest(&id.to_string()))
}

fn id_of(letter: &DeadLetter) -> u8 {
    letter.id.parse().unwrap()
}

fn play(ops: Vec<Op>) {
    // Dead letters may go for newer ones here: those are known to the model by looking before and after.
    let limits = Limits { bytes_max: 24 << 10, age_ms_max: 1_000_000, attempts_max: 3 };
    let mut bench = Bench::new(limits);
    let mut model = Model::default();
    for op in ops {
        let mut may_go: BTreeSet<u8> = bench.queue.dead_letters(usize::MAX).iter().map(id_of).collect();
        if matches!(op, Op::Sweep) {
            // Those that are too old die together, and the first of them may go for the last.
            may_go.extend((0..30).filter(|id| number_of(&bench, *id).is_some()));
        }
        let mut crashed = false;
        match op {
            Op::Put { id, kind, bytes } => {
                let put = bench.queue.put_now(message(&id.to_string(), &kind.to_string(), bytes));
                if let Ok((number, ticket)) = put {
                    model.tickets.push((id, number.unwrap_or(0), ticket));
                }
            }
            Op::Sync => {
                bench.disk.sync();
                model.settle(&bench.queue);
            }
            Op::Handle(verdict) => {
                let Some(delivery) = take_if_possible(&bench) else { continue };
                let result = match verdict {
                    Verdict::Ok => {
                        model.effect(&delivery.message);
                        Ok(())
                    }
                    Verdict::Retry => Err(HandleError::Retry("later".to_owned())),
                    Verdict::Refused => Err(HandleError::Refused("never".to_owned())),
                };
                let handled = result.is_ok();
                let finished = bench.queue.finish(&delivery, result);
                // What could not be written down is handled again.
                if handled && finished.is_err() {
                    *model.forgiven.entry(delivery.message.id.parse().unwrap()).or_default() += 1;
                }
            }
            Op::CrashInFlight { done, kept } => {
                let Some(delivery) = take_if_possible(&bench) else { continue };
                if done {
                    model.effect(&delivery.message);
                    *model.forgiven.entry(delivery.message.id.parse().unwrap()).or_default() += 1;
                }
                forgive_unsynced(&mut model, &bench);
                bench.crash(kept);
                crashed = true;
            }
            Op::Crash { kept } => {
                forgive_unsynced(&mut model, &bench);
                bench.crash(kept);
                crashed = true;
            }
            Op::Restart => {
                bench.disk.sync();
                bench.crash(0);
            }
            Op::Wait(ms) => bench.clock.advance(ms),
            Op::Replay(which) => drop(bench.queue.replay(number_at(&bench, which))),
            Op::Discard(which) => drop(bench.queue.discard(number_at(&bench, which))),
            Op::Sweep => drop(bench.queue.sweep()),
            Op::DiskFull(full) => bench.disk.0.lock().full = full,
        }
        if crashed {
            model.tickets.clear();
        }
        model.let_go.extend(may_go.into_iter().filter(|id| number_of(&bench, *id).is_none()));
        model.check(&bench);
    }
    bench.disk.0.lock().full = false;
    drain(&mut bench, &mut model);
}

/// In the end everything that was acknowledged has taken effect or is a dead letter.
fn drain(bench: &mut Bench, model: &mut Model) {
    for _ in 0..1_000 {
        bench.clock.advance(PAUSE_MS_MAX);
        let Some(delivery) = bench.take() else { break };
        model.effect(&delivery.message);
        drop(bench.queue.finish(&delivery, Ok(())).unwrap());
    }
    model.check(bench);
    assert_eq!(bench.queue.depth().waiting, 0);
    let dead: BTreeSet<u8> = bench.queue.dead_letters(usize::MAX).iter().map(id_of).collect();
    for id in &model.acknowledged {
        let done = model.effects.contains_key(id) || dead.contains(id) || model.let_go.contains(id);
        assert!(done, "{id} was acknowledged and never handled");
    }
}

fn take_if_possible(bench: &Bench) -> Option<Delivery> {
    let kinds = bench.queue.ready_kinds();
    kinds.iter().find_map(|kind| bench.queue.take(kind).ok().flatten())
}

fn number_at(bench: &Bench, which: Option<usize>) -> Option<u64> {
    let letters = bench.queue.dead_letters(usize::MAX);
    which.map(|at| letters.get(at).map_or(u64::MAX, |letter| letter.letter.parse().unwrap()))
}

/// What was handled and not synced may come again.
fn forgive_unsynced(model: &mut Model, bench: &Bench) {
    let inner = bench.disk.0.lock();
    for (changes, _) in &inner.unsynced {
        for change in changes.iter().filter(|change| change.key[0] == record::HANDLED && change.value.is_some()) {
            for id in 0..30_u8 {
                if change.key[1..] == record::digest(&id.to_string()) {
                    *model.forgiven.entry(id).or_default() += 1;
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_takes_effect_twice(ops in prop::collection::vec(op(), 1..120)) {
        play(ops);
    }
}

#[test]
fn an_id_that_waits_or_was_handled_is_not_taken_again() {
    let bench = Bench::new(Limits::default());
    bench.put(message("a", "k", 10)).unwrap();
    bench.put(message("a", "k", 10)).unwrap();
    assert_eq!(bench.queue.depth().waiting, 1);
    let delivery = bench.take().unwrap();
    bench.queue.finish(&delivery, Ok(())).unwrap();
    bench.put(message("a", "k", 10)).unwrap();
    assert_eq!((bench.queue.depth().waiting, bench.queue.stats().duplicates.get()), (0, 2));
}

#[test]
fn a_dead_letter_that_is_put_in_again_is_handled_again_and_takes_no_more_room() {
    // Room for one of them.
    let mut bench = Bench::new(Limits { bytes_max: 2_500, ..Limits::default() });
    bench.put(message("a", "k", 500)).unwrap();
    let delivery = bench.take().unwrap();
    bench.queue.finish(&delivery, Err(HandleError::Refused("never".to_owned()))).unwrap();
    assert_eq!((bench.queue.depth().waiting, bench.queue.depth().dead), (0, 1));
    let weight = bench.queue.depth().bytes;
    bench.put(message("a", "k", 500)).unwrap();
    let depth = bench.queue.depth();
    assert_eq!((depth.waiting, depth.dead, depth.bytes), (1, 0, weight));
    bench.crash(0);
    let delivery = bench.take().unwrap();
    assert_eq!((delivery.attempts, bench.queue.depth().dead), (1, 0), "as if it were new");
    // Whoever lets go of it is heard, and the sender is told.
    bench.queue.finish(&delivery, Err(HandleError::Refused("never".to_owned()))).unwrap();
    bench.queue.discard(None).unwrap();
    bench.disk.sync();
    assert!(bench.queue.put_now(message("a", "k", 500)).unwrap().0.is_none());
    assert!(bench.take().is_none());
}

#[test]
fn what_is_in_flight_is_not_given_twice_and_order_is_kept() {
    let bench = Bench::new(Limits::default());
    for id in ["a", "b", "c"] {
        bench.put(message(id, "k", 10)).unwrap();
    }
    let taken: Vec<String> = (0..3).map(|_| bench.take().unwrap().message.id.clone()).collect();
    assert_eq!(taken, ["a", "b", "c"]);
    assert!(bench.take().is_none());
    assert_eq!(bench.queue.depth().in_flight, 3);
}

#[test]
fn a_message_that_fails_waits_longer_each_time_and_becomes_a_dead_letter() {
    let bench = Bench::new(Limits { attempts_max: 3, ..Limits::default() });
    bench.put(message("a", "k", 10)).unwrap();
    for attempt in 1..=3 {
        let delivery = bench.take().unwrap();
        assert_eq!(delivery.attempts, attempt);
        bench.queue.finish(&delivery, Err(HandleError::Retry("the store is full".to_owned()))).unwrap();
        assert!(bench.take().is_none());
        bench.clock.advance(4_000);
    }
    let letters = bench.queue.dead_letters(10);
    assert_eq!(letters[0].reason, "given up after 3 attempts: the store is full");
    let letter = bench.queue.dead_letter(letters[0].letter.parse().unwrap()).unwrap();
    assert_eq!(letter.payload.unwrap(), "xxxxxxxxxx");
    assert_eq!(bench.queue.replay(None).unwrap().0, 1);
    assert_eq!(bench.take().unwrap().attempts, 1);
}

#[test]
fn a_message_that_ends_the_process_each_time_becomes_a_dead_letter() {
    let mut bench = Bench::new(Limits { attempts_max: 2, ..Limits::default() });
    bench.put(message("a", "k", 10)).unwrap();
    for _ in 0..2 {
        assert!(bench.take().is_some());
        bench.crash(usize::MAX);
    }
    assert!(bench.take().is_none());
    assert_eq!(bench.queue.dead_letters(1)[0].reason, "the process ended 2 times while it was handled");
}

#[test]
fn too_much_and_too_large_are_refused_with_their_limits() {
    let bench = Bench::new(Limits { bytes_max: 10_000, ..Limits::default() });
    let error = bench.put(message("a", "k", 5_000)).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { bytes_max: 5_000, .. }), "{error}");
    let mut taken = 0;
    let full = loop {
        match bench.put(message(&taken.to_string(), "k", 1_000)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, PutError::Full { .. }) && taken == 4, "{full} {taken}");
    // One that waits already is no new one.
    bench.put(message("0", "k", 1_000)).unwrap();
    let huge = Bench::new(Limits { bytes_max: 1 << 40, ..Limits::default() });
    let error = huge.put(message("a", "k", crate::mailbox::MESSAGE_BYTES_MAX)).unwrap_err();
    assert!(error.to_string().contains("larger than the 16777216 bytes"), "{error}");
}

#[test]
fn what_waits_too_long_becomes_a_dead_letter_and_goes_at_last() {
    let bench = Bench::new(Limits { age_ms_max: 1_000, ..Limits::default() });
    bench.put(message("a", "k", 10)).unwrap();
    bench.clock.advance(1_001);
    bench.queue.sweep().unwrap();
    assert_eq!((bench.queue.depth().waiting, bench.queue.depth().dead), (0, 1));
    bench.clock.advance(1_001);
    bench.queue.sweep().unwrap();
    assert_eq!((bench.queue.depth().dead, bench.queue.depth().bytes), (0, 0));
    assert_eq!(bench.queue.stats().expired.get(), 1);
}

#[test]
fn a_record_of_another_version_is_left_where_it_is() {
    let mut bench = Bench::new(Limits::default());
    bench.put(message("a", "k", 10)).unwrap();
    let key = record::numbered(MESSAGE, 7);
    bench.queue.set_state(key.clone(), vec![99, 1, 2]).unwrap();
    bench.disk.sync();
    bench.crash(0);
    assert_eq!((bench.queue.depth().waiting, bench.queue.stats().damaged.get()), (1, 1));
    bench.put(message("b", "k", 10)).unwrap();
    assert_eq!(bench.disk.state(Tree::Mailbox, &key), Some(vec![99, 1, 2]));
}

#[tokio::test]
async fn workers_keep_their_number_and_drain_at_the_end() {
    use crate::mailbox::{Handler, Handlers};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Slow {
        now: AtomicUsize,
        most: AtomicUsize,
        done: AtomicUsize,
    }

    impl Handler for Slow {
        fn handle<'a>(&'a self, message: &'a Message) -> Pending<'a, Result<(), HandleError>> {
            Box::pin(async move {
                assert_ne!(message.id, "panics");
                let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                self.now.fetch_sub(1, Ordering::SeqCst);
                self.done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        }
    }

    let bench = Bench::new(Limits::default());
    for id in 0..10 {
        bench.queue.put_now(message(&id.to_string(), "k", 10)).unwrap();
    }
    bench.queue.put_now(message("panics", "k", 10)).unwrap();
    bench.queue.put_now(message("unknown", "other", 10)).unwrap();
    let slow = Arc::new(Slow::default());
    let mut handlers = Handlers::default();
    handlers.add("k", slow.clone(), 3);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(crate::mailbox::workers::run(bench.queue.clone(), handlers, stop.clone()));
    let syncing = bench.disk.clone();
    tokio::spawn(async move {
        loop {
            syncing.sync();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
    while slow.done.load(Ordering::SeqCst) < 8 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(slow.most.load(Ordering::SeqCst), 3);
    let depth = bench.queue.depth();
    assert_eq!((depth.in_flight, depth.dead), (0, 1), "{depth:?}");
    assert_eq!(depth.remembered, slow.done.load(Ordering::SeqCst));
    let reason = &bench.queue.dead_letters(1)[0].reason;
    assert_eq!(reason, "nobody here handles messages of the kind `other`");
}
