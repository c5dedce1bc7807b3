//! Jobs on the store in memory.

use super::*;
use crate::{stdx::clock::ManualClock, store::memory::Memory};
use std::{sync::mpsc, time::Duration};

struct World {
    store: Arc<dyn Store>,
    clock: ManualClock,
}

impl World {
    fn new() -> World {
        let clock = ManualClock::new(1_000_000);
        World { store: Arc::new(Memory::new(Arc::new(clock.clone()))), clock }
    }

    fn jobs(&self) -> Jobs {
        Jobs::open(self.store.clone(), Arc::new(self.clock.clone()))
    }
}

fn wait_for(jobs: &Jobs, id: JobId, wanted: impl Fn(&Job) -> bool) -> Job {
    for _ in 0..5_000 {
        let job = jobs.get(id).expect("the job is listed");
        if wanted(&job) {
            return job;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the job stayed {:?}", jobs.get(id));
}

fn ended(jobs: &Jobs, id: JobId) -> Job {
    wait_for(jobs, id, |job| job.state != JobState::Running)
}

/// Work that goes on until it is told to end.
fn endless() -> Work {
    Box::new(|handle| {
        while !handle.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })
}

#[test]
fn progress_message_and_estimate_are_seen_and_told() {
    let world = World::new();
    let jobs = world.jobs();
    let mut events = jobs.subscribe();
    let (go, wait) = mpsc::channel();
    let clock = world.clock.clone();
    let work: Work = Box::new(move |handle| {
        wait.recv()?;
        clock.advance(2_000);
        handle.message("reading");
        handle.progress(1, 4, "pages");
        wait.recv()?;
        clock.advance(2_000);
        handle.progress(4, 4, "pages");
        Ok(())
    });
    let id = jobs.start("import", "Import", Vec::new(), work).unwrap();
    go.send(()).unwrap();
    let job = wait_for(&jobs, id, |job| job.progress.done == 1);
    assert_eq!((job.state, job.message.as_str(), job.estimate_ms), (JobState::Running, "reading", Some(6_000)));
    go.send(()).unwrap();
    let job = ended(&jobs, id);
    assert_eq!((job.state, job.progress.done, job.updated_ms), (JobState::Done, 4, 1_004_000));
    assert_eq!(job.estimate_ms, None);
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(event);
    }
    assert_eq!(told.first().map(|event| event.state), Some(JobState::Running));
    assert_eq!(told.last(), Some(&job));
    assert_eq!(jobs.list(), [job]);
}

#[test]
fn a_cancelled_job_ends_soon_and_is_not_taken_up_again() {
    let world = World::new();
    let jobs = world.jobs();
    let id = jobs.start("import", "Import", Vec::new(), endless()).unwrap();
    jobs.cancel(id).unwrap();
    assert_eq!(ended(&jobs, id).state, JobState::Cancelled);
    assert!(matches!(jobs.cancel(id), Err(JobsError::NotRunning(_))));
    assert!(matches!(jobs.cancel(99), Err(JobsError::Unknown(99))));
    let jobs = world.jobs();
    jobs.register("import", |_| panic!("a cancelled job was taken up"));
    assert_eq!(jobs.get(id).unwrap().state, JobState::Cancelled);
}

#[test]
fn failures_and_panics_become_messages() {
    let jobs = World::new().jobs();
    let id = jobs.start("import", "a", Vec::new(), Box::new(|_| Err("line 3: no value".into()))).unwrap();
    let job = ended(&jobs, id);
    assert_eq!((job.state, job.message.as_str()), (JobState::Failed, "line 3: no value"));
    let id = jobs.start("import", "b", Vec::new(), Box::new(|_| panic!("out of {}", "luck"))).unwrap();
    let job = ended(&jobs, id);
    assert_eq!((job.state, job.message.as_str()), (JobState::Failed, "the work panicked: out of luck"));
}

#[test]
fn after_a_restart_a_job_goes_on_from_its_last_checkpoint() {
    let world = World::new();
    let jobs = world.jobs();
    let work: Work = Box::new(|handle| {
        handle.progress(40, 100, "rows");
        handle.checkpoint(b"row 40")?;
        handle.progress(50, 100, "rows");
        endless()(handle)
    });
    let id = jobs.start("import", "Import", b"row 0".to_vec(), work).unwrap();
    wait_for(&jobs, id, |job| job.progress.done == 50);
    jobs.stop();
    assert_eq!(jobs.get(id).unwrap().state, JobState::Interrupted);
    assert!(matches!(jobs.start("import", "b", Vec::new(), endless()), Err(JobsError::Stopping)));

    let jobs = world.jobs();
    assert_eq!(jobs.get(id).unwrap().state, JobState::Interrupted);
    let (seen, saw) = mpsc::channel();
    jobs.register("export", |_| panic!("another kind was taken up"));
    jobs.register("import", move |resume| {
        let seen = seen.clone();
        Box::new(move |handle| {
            seen.send(resume)?;
            handle.progress(100, 100, "rows");
            Ok(())
        })
    });
    assert_eq!(saw.recv().unwrap(), b"row 40");
    let job = ended(&jobs, id);
    assert_eq!((job.id, job.state, job.progress.done), (id, JobState::Done, 100));
}

#[test]
fn a_job_that_was_running_at_a_crash_is_interrupted_and_tried_a_few_times_only() {
    let world = World::new();
    let first = world.jobs();
    let id = first.start("import", "Import", b"from here".to_vec(), endless()).unwrap();
    for _ in 0..RESTARTS_MAX {
        // No stop: as after a crash, the store still says running.
        let jobs = world.jobs();
        assert_eq!(jobs.get(id).unwrap().state, JobState::Interrupted);
        jobs.register("import", |resume| {
            assert_eq!(resume, b"from here");
            endless()
        });
        assert_eq!(jobs.get(id).unwrap().state, JobState::Running);
    }
    let jobs = world.jobs();
    jobs.register("import", |_| panic!("taken up too often"));
    let job = jobs.get(id).unwrap();
    assert_eq!(job.state, JobState::Interrupted);
    assert!(job.message.contains("by hand"));
}

#[test]
fn a_checkpoint_can_ride_in_the_batch_it_speaks_of() {
    let world = World::new();
    let jobs = world.jobs();
    let store = world.store.clone();
    let work: Work = Box::new(move |handle| {
        let change = handle.checkpoint_change(b"page 2").ok_or("gone")?;
        store.append(&WriteBatch { state: vec![change], ..WriteBatch::default() })?;
        endless()(handle)
    });
    let id = jobs.start("sync", "Sync", Vec::new(), work).unwrap();
    let key = id.to_be_bytes();
    let stored = || Stored::decode(&world.store.state(Tree::Jobs, &key).unwrap()).unwrap();
    while stored().resume != b"page 2" {
        std::thread::sleep(Duration::from_millis(1));
    }
    jobs.stop();
    assert_eq!((stored().job.state, stored().resume), (JobState::Interrupted, b"page 2".to_vec()));
}

#[test]
fn the_history_is_bounded_in_memory_and_in_the_store() {
    let world = World::new();
    let jobs = world.jobs();
    for n in 0..FINISHED_JOBS_MAX + 20 {
        let id = jobs.start("noop", &format!("{n}"), Vec::new(), Box::new(|_| Ok(()))).unwrap();
        ended(&jobs, id);
    }
    assert_eq!(jobs.list().len(), FINISHED_JOBS_MAX);
    assert_eq!(jobs.list()[0].id, (FINISHED_JOBS_MAX + 20) as u64);
    assert_eq!(world.jobs().list().len(), FINISHED_JOBS_MAX);
}

#[test]
fn more_jobs_at_once_than_allowed_are_refused() {
    let jobs = World::new().jobs();
    for _ in 0..RUNNING_JOBS_MAX {
        jobs.start("import", "Import", Vec::new(), endless()).unwrap();
    }
    assert!(matches!(jobs.start("import", "Import", Vec::new(), endless()), Err(JobsError::TooMany)));
    jobs.stop();
    assert!(jobs.list().iter().all(|job| job.state == JobState::Interrupted));
}
