//! Blocks written, merged, damaged and read back.

use super::{
    draft::Draft,
    format::{DATA_OFFSET, FOOTER_BYTES, Footer},
    merge::{MergeTarget, Progress, merge_blocks},
    reader::{Block, Damaged},
    writer::{Plan, Writer},
};
use crate::{
    model::{Histogram, HistogramSample, Labels, MatchOp, Matcher, STALE_NAN, Samples, TimeRange, Timestamp},
    stdx::vfs::{Vfs, simulated::SimulatedVfs},
    store::tsdb::{
        log::Position,
        run::{Run, RunEnd},
    },
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

const DIRECTORY: &str = "/blocks";
const SPAN_MS: i64 = 7_200_000;

fn disk() -> Arc<dyn Vfs> {
    let vfs = SimulatedVfs::default();
    vfs.create_dir_all(Path::new(DIRECTORY)).unwrap();
    Arc::new(vfs)
}

fn labels(series: u32) -> Labels {
    let (name, n) = (format!("m{}", series % 3), series.to_string());
    Labels::from_pairs([("__name__", name.as_str()), ("n", &n), ("job", "j")]).unwrap()
}

#[derive(Debug, Clone, Default)]
struct Content {
    samples: Samples,
    runs: Vec<Run>,
    overwrites: bool,
}

fn write(vfs: &Arc<dyn Vfs>, plan: Plan, series: &BTreeMap<Labels, Content>) -> PathBuf {
    let start = plan.start;
    let mut writer = Writer::new(&**vfs, Path::new(DIRECTORY), plan).unwrap();
    for (labels, content) in series {
        let mut draft = Draft::default();
        draft.head.overwrites = content.overwrites;
        draft.samples(start, &content.samples, &mut writer.clocks);
        draft.runs(&content.runs);
        writer.push(labels, &draft, (start, start + SPAN_MS - 1)).unwrap();
    }
    writer.finish().unwrap()
}

fn plan(start: Timestamp, through: u64) -> Plan {
    Plan { start, span_ms: SPAN_MS, level: 0, windows: vec![(start, Position(through))], cleaned: Position::default() }
}

fn open(vfs: &Arc<dyn Vfs>, path: &Path) -> Arc<Block> {
    Arc::new(Block::open(vfs, path, &Arc::new(Damaged::default()), 0).unwrap())
}

fn read(block: &Block, series: u32, range: TimeRange) -> (Samples, Vec<Run>) {
    let (mut samples, mut runs) = (Samples::default(), Vec::new());
    block.read(series, range, &block.clock_cache(), &mut samples, &mut runs);
    (samples, runs)
}

fn bits(samples: &Samples) -> Vec<(Timestamp, u64)> {
    samples.timestamps.iter().copied().zip(samples.values.iter().map(|value| value.to_bits())).collect()
}

/// Samples of many kinds, some of them a few thousand.
fn filled() -> BTreeMap<Labels, Content> {
    let mut series = BTreeMap::new();
    for number in 0..300u32 {
        let mut content = Content { overwrites: number % 7 == 0, ..Content::default() };
        let count = if number % 50 == 0 { 5_000 } else { 40 };
        for at in (0..count).filter(|at| (at + i64::from(number)) % 13 > 0) {
            let value = match number % 4 {
                0 => f64::from(number),
                1 => at as f64 * 0.25,
                2 => (at as f64).sqrt(),
                _ if at == 20 => STALE_NAN,
                _ => (at % 5) as f64,
            };
            content.samples.push(at * 1_000, value);
        }
        if number % 40 == 1 {
            let histogram = Arc::new(Histogram { count: 3.0, ..Histogram::default() });
            content.samples.histograms.push(HistogramSample { timestamp: 7, histogram });
            content.runs.push(Run::new(1.0, -5, 15_000, RunEnd::StaleAt(9)));
        }
        series.insert(labels(number), content);
    }
    series
}

#[test]
fn what_is_written_is_read_back_whole_and_in_part() {
    let (vfs, series) = (disk(), filled());
    let block = open(&vfs, &write(&vfs, plan(0, 5), &series));
    assert_eq!(block.series() as usize, series.len());
    for (number, (labels, content)) in series.iter().enumerate() {
        let number = number as u32;
        assert_eq!(block.labels(number).as_ref(), Some(labels));
        assert_eq!(block.place(number).overwrites, content.overwrites);
        let (samples, runs) = read(&block, number, TimeRange::ALL);
        assert_eq!((bits(&samples), &runs), (bits(&content.samples), &content.runs));
        assert_eq!(samples.histograms.len(), content.samples.histograms.len());
        let range = TimeRange::new(10_500, 30_000).unwrap();
        let expected: Vec<_> = bits(&content.samples).into_iter().filter(|(at, _)| range.contains(*at)).collect();
        assert_eq!(bits(&read(&block, number, range).0), expected);
    }
    let total: u64 = series.values().map(|c| (c.samples.values.len() + c.samples.histograms.len()) as u64).sum();
    assert_eq!(block.footer.samples, total);
}

#[test]
fn series_are_found_by_their_labels() {
    let (vfs, series) = (disk(), filled());
    let block = open(&vfs, &write(&vfs, plan(0, 5), &series));
    for matchers in [
        vec![Matcher::equal("n", "17")],
        vec![Matcher::equal("job", "j"), Matcher::equal("__name__", "m2")],
        vec![Matcher::new(MatchOp::Regex, "n", "1.?").unwrap()],
        vec![Matcher::equal("job", "j"), Matcher::new(MatchOp::NotRegex, "n", "[0-4].*").unwrap()],
        vec![Matcher::equal("missing", "")],
        vec![Matcher::equal("missing", "x")],
    ] {
        let found: Vec<u32> = block.find(&matchers).iter().collect();
        let passes = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or_default()));
        let expected = series.keys().enumerate().filter(|(_, labels)| passes(labels));
        assert_eq!(found, expected.map(|(number, _)| number as u32).collect::<Vec<_>>(), "{matchers:?}");
    }
    assert_eq!(block.index().names().collect::<Vec<_>>(), ["__name__", "job", "n"]);
    assert_eq!(block.index().values("__name__").map(|(value, _)| value).collect::<Vec<_>>(), ["m0", "m1", "m2"]);
}

/// Either copy of footer and essentials, the table and the postings: everything is still read.
#[test]
fn damage_outside_the_data_costs_nothing() {
    let (vfs, series) = (disk(), filled());
    let path = write(&vfs, plan(0, 5), &series);
    let whole = vfs.read(&path).unwrap();
    let footer = open(&vfs, &path).footer;
    let at_end = (whole.len() - FOOTER_BYTES + 10) as u64;
    let sections = [footer.essentials, footer.essentials_copy, footer.table, footer.postings];
    let middles = sections.map(|section| section.offset + section.length / 2);
    for at in [3, DATA_OFFSET - 60, at_end].into_iter().chain(middles) {
        let mut bytes = whole.clone();
        // A page, not a bit.
        bytes[at as usize..].iter_mut().take(40).for_each(|byte| *byte ^= 0x55);
        let copy = path.with_extension("damaged");
        let file = vfs.open(&copy, crate::stdx::vfs::OpenMode::Create).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let damaged = Arc::new(Damaged::default());
        let block = Block::open(&vfs, &copy, &damaged, 0).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(damaged.count(), 1, "{at}");
        for (number, (labels, content)) in series.iter().enumerate() {
            assert_eq!(block.labels(number as u32).as_ref(), Some(labels), "{at}");
            let (samples, runs) = read(&block, number as u32, TimeRange::ALL);
            assert_eq!((bits(&samples), &runs), (bits(&content.samples), &content.runs), "{at}");
            assert_eq!(block.place(number as u32).overwrites, content.overwrites, "{at}");
        }
        assert_eq!(block.find(&[Matcher::equal("job", "j")]).len() as usize, series.len());
    }
}

#[test]
fn a_damaged_chunk_of_a_long_series_costs_itself_alone() {
    let vfs = disk();
    let mut content = Content::default();
    (0..6_000).for_each(|at| content.samples.push(at * 1_000, (at as f64).sqrt()));
    let series = BTreeMap::from([(labels(1), content)]);
    let path = write(&vfs, plan(0, 5), &series);
    let mut bytes = vfs.read(&path).unwrap();
    let middle = open(&vfs, &path).footer.data();
    bytes[(middle.offset + middle.length / 2) as usize] ^= 1;
    vfs.open(&path, crate::stdx::vfs::OpenMode::ReadWrite).unwrap().write_all_at(&bytes, 0).unwrap();
    let damaged = Arc::new(Damaged::default());
    let block = Block::open(&vfs, &path, &damaged, 0).unwrap();
    let read = read(&block, 0, TimeRange::ALL).0;
    assert_eq!((read.values.len(), damaged.count()), (4_000, 1));
}

#[test]
fn a_block_cut_short_is_not_served() {
    let vfs = disk();
    let path = write(&vfs, plan(0, 5), &filled());
    let length = vfs.length(&path).unwrap();
    for left in [0, 15, DATA_OFFSET, length / 2, length - 1] {
        vfs.open(&path, crate::stdx::vfs::OpenMode::ReadWrite).unwrap().set_len(left).unwrap();
        assert!(Block::open(&vfs, &path, &Arc::new(Damaged::default()), 0).is_err(), "{left}");
    }
}

/// Whoever can write a file can make its checksums right.
#[test]
fn a_file_whose_times_make_no_sense_is_refused_or_costs_its_own_samples() {
    let (vfs, series) = (disk(), filled());
    let path = write(&vfs, plan(0, 5), &series);
    let whole = open(&vfs, &path).footer;
    let forged = |footer: Footer| {
        let file = vfs.open(&path, crate::stdx::vfs::OpenMode::ReadWrite).unwrap();
        let bytes = footer.encode();
        file.write_all_at(&bytes, DATA_OFFSET - FOOTER_BYTES as u64).unwrap();
        file.write_all_at(&bytes, file.len().unwrap() - FOOTER_BYTES as u64).unwrap();
        Block::open(&vfs, &path, &Arc::new(Damaged::default()), 0)
    };
    let last = i64::MAX - i64::MAX % SPAN_MS;
    let (span_ms, start, level) = (0, 1, u64::MAX);
    for footer in [
        Footer { span_ms, ..whole },
        Footer { span_ms: -1, ..whole },
        Footer { span_ms: 1 << 40, ..whole },
        Footer { start, ..whole },
        Footer { level, ..whole },
    ] {
        assert!(forged(footer).is_err(), "{footer:?}");
    }
    for footer in
        [Footer { start: last, ..whole }, Footer { start: i64::MIN, ..whole }, Footer { span_ms: 1_000, ..whole }]
    {
        let block = Arc::new(forged(footer).unwrap());
        (0..block.series()).for_each(|number| drop(read(&block, number, TimeRange::ALL)));
        let target = MergeTarget { start: footer.start, span_ms: footer.span_ms };
        merge_blocks(&*vfs, Path::new(DIRECTORY), &[block], target, &|_| true, &Progress::default()).unwrap();
    }
}

#[test]
fn a_merge_that_is_cancelled_leaves_nothing_behind() {
    let vfs = disk();
    let blocks = [write(&vfs, plan(0, 5), &filled()), write(&vfs, plan(SPAN_MS, 6), &BTreeMap::new())];
    let blocks = blocks.map(|path| open(&vfs, &path));
    let progress = Progress::default();
    progress.cancelled.store(true, Ordering::Relaxed);
    let target = MergeTarget { start: 0, span_ms: 2 * SPAN_MS };
    assert_eq!(merge_blocks(&*vfs, Path::new(DIRECTORY), &blocks, target, &|_| true, &progress).unwrap(), None);
    assert_eq!(vfs.list(Path::new(DIRECTORY)).unwrap().len(), 2);
}

#[test]
fn a_run_that_two_sources_have_is_kept_once_and_progress_ends_at_its_total() {
    let vfs = disk();
    let run = Run::new(1.0, 5, 15_000, RunEnd::StaleAt(90_000));
    let series = || BTreeMap::from([(labels(1), Content { runs: vec![run], ..Content::default() })]);
    let blocks = [1, 2].map(|through| open(&vfs, &write(&vfs, plan(0, through), &series())));
    let (target, progress) = (MergeTarget { start: 0, span_ms: SPAN_MS }, Progress::default());
    let path = merge_blocks(&*vfs, Path::new(DIRECTORY), &blocks, target, &|_| true, &progress).unwrap().unwrap();
    assert_eq!(read(&open(&vfs, &path), 0, TimeRange::ALL).1, [run]);
    let [done, total] = [&progress.series_done, &progress.series_total].map(|count| count.load(Ordering::Relaxed));
    assert_eq!((done, total), (2, 2));
}

/// Series by number, with samples by time: what a reader of all parts has to see.
type Model = BTreeMap<u32, BTreeMap<Timestamp, f64>>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Blocks of several windows, some of one, some overwriting, merged at once or one after the other.
    #[test]
    fn a_merged_block_reads_as_its_sources_do(
        parts in proptest::collection::vec(
            (0i64..4, any::<bool>(), proptest::collection::vec((0u32..6, 0i64..60, 0u8..5), 1..60)), 1..8),
        cut in 0usize..8,
    ) {
        let vfs = disk();
        let mut model = Model::new();
        let mut blocks = Vec::new();
        for (through, (window, overwrites, samples)) in parts.into_iter().enumerate() {
            let start = window * SPAN_MS;
            let mut series: BTreeMap<u32, BTreeMap<Timestamp, f64>> = BTreeMap::new();
            for (number, at, value) in samples {
                series.entry(number).or_default().insert(start + at * 1_000, f64::from(value));
            }
            for (number, samples) in &series {
                let held = model.entry(*number).or_default();
                for (at, value) in samples {
                    if overwrites {
                        held.insert(*at, *value);
                    } else {
                        held.entry(*at).or_insert(*value);
                    }
                }
            }
            let contents = series.into_iter().map(|(number, samples)| {
                let mut content = Content { overwrites, ..Content::default() };
                samples.into_iter().for_each(|(at, value)| content.samples.push(at, value));
                (labels(number), content)
            });
            let path = write(&vfs, plan(start, through as u64 + 1), &contents.collect());
            blocks.push(open(&vfs, &path));
        }
        let target = MergeTarget { start: 0, span_ms: 4 * SPAN_MS };
        let merge = |blocks: &[Arc<Block>]| {
            let path = merge_blocks(&*vfs, Path::new(DIRECTORY), blocks, target, &|_| true, &Progress::default()).unwrap();
            open(&vfs, &path.unwrap())
        };
        // What was there first is merged first: a merge never takes a newer block and leaves an older one.
        let newer = blocks.split_off(cut.min(blocks.len() - 1).max(1).min(blocks.len()));
        let mut merged = merge(&blocks);
        prop_assert!(blocks.iter().all(|block| block.is_contained_in(&merged)));
        prop_assert!(newer.iter().all(|block| !block.is_contained_in(&merged)));
        if !newer.is_empty() {
            merged = merge(&[&[merged][..], &newer].concat());
        }
        prop_assert_eq!(merged.series() as usize, model.len());
        for number in 0..merged.series() {
            let n: u32 = merged.labels(number).unwrap().get("n").unwrap().parse().unwrap();
            let expected: Vec<_> = model[&n].iter().map(|(at, value)| (*at, value.to_bits())).collect();
            prop_assert_eq!(bits(&read(&merged, number, TimeRange::ALL).0), expected);
        }
    }
}
