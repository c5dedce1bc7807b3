//! Tiers built, filled with what is late, damaged, and read in the place of samples.

use super::*;
use crate::{
    model::{
        Histogram, HistogramSample, Labels, ResetHint, STALE_NAN, Samples, TimeRange, Timestamp, is_stale,
        native::detect_reset,
    },
    stdx::vfs::{Vfs, simulated::SimulatedVfs},
    store::{
        Fidelity,
        tsdb::{
            block::{Block, Damaged, Draft, MergeTarget, Plan, Progress, Writer},
            log::Position,
            run::{Run, RunEnd},
        },
    },
};
use proptest::prelude::*;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const START: Timestamp = 20_000 * DAY_MS;
const TARGET: MergeTarget = MergeTarget { start: START, span_ms: DAY_MS };
const RESOLUTIONS: [i64; 2] = [300_000, HOUR_MS];

fn disk() -> Arc<dyn Vfs> {
    let vfs = SimulatedVfs::default();
    for directory in ["/blocks", "/300000", "/3600000"] {
        vfs.create_dir_all(Path::new(directory)).unwrap();
    }
    Arc::new(vfs)
}

fn labels(number: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("n", &format!("{number:04}"))]).unwrap()
}

/// A block of raw samples, each series with its number.
fn raw(vfs: &Arc<dyn Vfs>, through: u64, series: &[(usize, Samples, Vec<Run>)]) -> Arc<Block> {
    let plan = Plan {
        start: START,
        span_ms: DAY_MS,
        level: 1,
        windows: vec![(START, Position(through))],
        cleaned: Position::default(),
    };
    let mut writer = Writer::new(&**vfs, Path::new("/blocks"), plan).unwrap();
    for (number, samples, runs) in series {
        let mut draft = Draft::default();
        draft.samples(START, samples, &mut writer.clocks);
        draft.runs(runs);
        writer.push(&labels(*number), &draft, (START, START + DAY_MS - 1)).unwrap();
    }
    open(vfs, &writer.finish().unwrap())
}

fn open(vfs: &Arc<dyn Vfs>, path: &Path) -> Arc<Block> {
    Arc::new(Block::open(vfs, path, &Arc::new(Damaged::default()), 0).unwrap())
}

/// Files of all resolutions; the level tells builds apart.
fn build(
    vfs: &Arc<dyn Vfs>,
    raw: &[Arc<Block>],
    old: Option<&[Arc<Block>]>,
    level: u64,
    kind: MetricKind,
) -> Vec<Arc<Block>> {
    let target = |(at, resolution_ms): (usize, &i64)| TierTarget {
        directory: PathBuf::from(format!("/{resolution_ms}")),
        resolution_ms: *resolution_ms,
        old: old.map(|old| old[at].clone()),
        cleaned: Position::default(),
    };
    let targets: Vec<TierTarget> = RESOLUTIONS.iter().enumerate().map(target).collect();
    let progress = Progress::default();
    let built = build_tiers(&**vfs, raw, TARGET, &targets, level, &|_| kind, &|_, _| true, &progress).unwrap();
    built.into_iter().map(|path| open(vfs, &path.unwrap())).collect()
}

const ALIGNED: Reading = Reading { shape: Shape::Last, aligned: true, first_ms: START, step_ms: 0, lookback_ms: 0 };

fn read_as(block: &Block, resolution_ms: i64, reading: Reading, range: TimeRange) -> (Samples, Fidelity) {
    let (mut samples, clocks) = (Samples::default(), block.clock_cache());
    let Some(record) = block.record_of(0) else { return (samples, Fidelity::Exact) };
    let fidelity = read_tier(&record, (range, resolution_ms), &reading, &clocks, &mut samples, &mut Vec::new());
    crate::store::tsdb::head::sort_samples(&mut samples, true);
    assert!(samples.weights.is_empty() || samples.weights.len() == samples.values.len());
    (samples, fidelity)
}

fn read(block: &Block, resolution_ms: i64, shape: Shape) -> (Samples, Fidelity) {
    read_as(block, resolution_ms, Reading { shape, ..ALIGNED }, TimeRange::ALL)
}

/// Everything that can be read of a file.
fn read_all(block: &Block, resolution_ms: i64) -> String {
    let shapes = [Shape::Instant, Shape::Last, Shape::Sums, Shape::Minima, Shape::Maxima, Shape::Ends, Shape::Course];
    let read = |shape| format!("{:?}", read(block, resolution_ms, shape));
    shapes.into_iter().map(read).collect()
}

/// Points of a window, without staleness markers: time, value, weight.
fn window(samples: &Samples, after: Timestamp, until: Timestamp) -> Vec<(Timestamp, f64, u32)> {
    let weights = samples.weights.iter().copied().chain(std::iter::repeat(1));
    let points = samples.timestamps.iter().zip(&samples.values).zip(weights).map(|((at, value), w)| (*at, *value, w));
    points.filter(|(at, value, _)| after < *at && *at <= until && !is_stale(*value)).collect()
}

fn increase(points: &[(Timestamp, f64, u32)]) -> f64 {
    let falls = points.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[0].1);
    points[points.len() - 1].1 - points[0].1 + falls.sum::<f64>()
}

fn extreme(points: &[(Timestamp, f64, u32)], is_better: fn(f64, f64) -> bool) -> f64 {
    let better = |best: f64, value: f64| if best.is_nan() || is_better(value, best) { value } else { best };
    points.iter().map(|point| point.1).reduce(better).unwrap()
}

fn visible(samples: &Samples, at: Timestamp, lookback_ms: i64) -> Option<u64> {
    let until = samples.timestamps.partition_point(|time| *time <= at);
    let newest = until.checked_sub(1)?;
    let value = samples.values[newest];
    (samples.timestamps[newest] > at - lookback_ms && !is_stale(value)).then_some(value.to_bits())
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// A window in which the tier must say what the samples say.
fn check_window(raw: &Samples, tier: &Block, resolution_ms: i64, kind: MetricKind, (after, until): (i64, i64)) {
    let expected = window(raw, after, until);
    let range = TimeRange::new(after + 1, until).unwrap();
    let points = |shape| {
        let (samples, fidelity) = read_as(tier, resolution_ms, Reading { shape, ..ALIGNED }, range);
        (window(&samples, after, until), fidelity)
    };
    let (counts, fidelity) = points(Shape::Counts);
    assert_eq!(fidelity, Fidelity::Exact);
    assert_eq!(counts.iter().map(|point| point.2 as usize).sum::<usize>(), expected.len());
    let (last, fidelity) = points(Shape::Last);
    assert_eq!(fidelity, Fidelity::Exact);
    let end = |points: &[(Timestamp, f64, u32)]| points.last().map(|point| (point.0, point.1.to_bits()));
    assert_eq!(end(&last), end(&expected));
    if expected.is_empty() {
        return;
    }
    let (sums, fidelity) = points(Shape::Sums);
    assert_eq!(fidelity == Fidelity::Exact, kind != MetricKind::Counter || is_plain(tier));
    if fidelity == Fidelity::Exact {
        let sum = |points: &[(Timestamp, f64, u32)]| points.iter().map(|point| point.1).sum::<f64>();
        let size: f64 = expected.iter().map(|point| point.1.abs()).sum();
        let (tier, raw) = (sum(&sums), sum(&expected));
        assert!(same(tier, raw) || (tier - raw).abs() <= size * 1e-9, "{tier} {raw}");
        assert_eq!(sums.iter().map(|point| point.2 as usize).sum::<usize>(), expected.len());
    }
    let is_better: [fn(f64, f64) -> bool; 2] = [|a, b| a < b, |a, b| a > b];
    for (shape, is_better) in [Shape::Minima, Shape::Maxima].into_iter().zip(is_better) {
        let (extremes, fidelity) = points(shape);
        if fidelity == Fidelity::Exact {
            let best = |points: &[(Timestamp, f64, u32)]| extreme(points, is_better);
            assert!(same(best(&extremes), best(&expected)), "{extremes:?} {expected:?}");
        }
    }
    let (resets, fidelity) = points(Shape::Resets);
    if fidelity == Fidelity::Exact {
        let falls = |points: &[(Timestamp, f64, u32)]| points.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
        assert_eq!(falls(&resets), falls(&expected), "{resets:?} {expected:?}");
    }
    let (ends, fidelity) = points(Shape::Ends);
    assert_eq!(fidelity == Fidelity::Exact, kind != MetricKind::Gauge || is_plain(tier));
    if fidelity == Fidelity::Exact {
        let first = |points: &[(Timestamp, f64, u32)]| (points[0].0, points[0].1.to_bits());
        assert_eq!((first(&ends), end(&ends)), (first(&expected), end(&expected)));
        assert_eq!(ends.iter().map(|point| point.2 as usize).sum::<usize>(), expected.len());
        assert!(same(increase(&ends), increase(&expected)), "{ends:?} {expected:?}");
        assert!(ends.is_sorted_by(|a, b| a.0 < b.0));
    }
}

fn is_plain(block: &Block) -> bool {
    block.record_of(0).is_none_or(|record| !record.has_columns())
}

fn check_instants(raw: &Samples, tier: &Block, resolution_ms: i64, step_ms: i64, offset_ms: i64) {
    let lookback_ms = 300_000;
    let aligned = offset_ms % resolution_ms == 0 && step_ms % resolution_ms == 0;
    let (first_ms, last_ms) = (START + offset_ms, START + DAY_MS - 1);
    let reading = Reading { shape: Shape::Instant, aligned, first_ms, step_ms, lookback_ms };
    let range = TimeRange::new(first_ms - lookback_ms + 1, last_ms).unwrap();
    let (samples, fidelity) = read_as(tier, resolution_ms, reading, range);
    if fidelity == Fidelity::Exact {
        return (first_ms..last_ms).step_by(step_ms as usize).for_each(|at| {
            assert_eq!(visible(&samples, at, lookback_ms), visible(raw, at, lookback_ms), "{at}");
        });
    }
    assert_eq!(fidelity, Fidelity::Widened);
    for at in (first_ms..last_ms).step_by(step_ms as usize) {
        let edge = at - at.rem_euclid(resolution_ms);
        assert_eq!(visible(&samples, at, lookback_ms), visible(raw, edge, lookback_ms), "{at}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Up(u8),
    Down(u8),
    Reset,
    Marker,
    NoNumber,
    Gap(u16),
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        20 => (0u8..100).prop_map(Event::Up),
        6 => (0u8..100).prop_map(Event::Down),
        1 => Just(Event::Reset),
        1 => Just(Event::Marker),
        1 => Just(Event::NoNumber),
        1 => (1u16..5_000).prop_map(Event::Gap),
    ];
    proptest::collection::vec(event, 1..400)
}

/// Samples every `step_ms`, a counter or what goes up and down.
fn samples_of(events: &[Event], step_ms: i64, first_ms: i64, kind: MetricKind) -> Samples {
    let (mut samples, mut value, mut at) = (Samples::default(), 7.25, START + first_ms);
    for event in events {
        let written = match event {
            Event::Up(by) => value + f64::from(*by),
            Event::Down(by) if kind == MetricKind::Counter => value + f64::from(*by) / 4.0,
            Event::Down(by) => value - f64::from(*by) / 4.0,
            Event::Reset => 1.5,
            Event::Marker => STALE_NAN,
            Event::NoNumber => f64::NAN,
            Event::Gap(_) => value,
        };
        if at >= START + DAY_MS {
            break;
        }
        samples.push(at, written);
        value = if written.is_nan() { value } else { written };
        at += step_ms + if let Event::Gap(seconds) = event { i64::from(*seconds) * 1_000 } else { 0 };
    }
    samples
}

fn any_kind() -> impl Strategy<Value = MetricKind> {
    prop_oneof![Just(MetricKind::Counter), Just(MetricKind::Gauge), Just(MetricKind::Unknown)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn aligned_windows_of_buckets_say_what_the_samples_say(
        events in any_events(),
        step_ms in prop_oneof![Just(1i64), Just(15_000), Just(7_001), Just(60_000), Just(300_000), Just(400_000)],
        first_ms in prop_oneof![Just(0i64), 0i64..HOUR_MS],
        kind in any_kind(),
        windows in proptest::collection::vec((0i64..24, 1i64..12), 1..6),
        grid in (1i64..5_000_000, 0i64..HOUR_MS),
    ) {
        let (vfs, samples) = (disk(), samples_of(&events, step_ms, first_ms, kind));
        let blocks = [raw(&vfs, 1, &[(0, samples.clone(), Vec::new())])];
        let tiers = build(&vfs, &blocks, None, 1, kind);
        for (tier, resolution_ms) in tiers.iter().zip(RESOLUTIONS) {
            for (from, length) in &windows {
                let after = START + (from - 1) * resolution_ms;
                check_window(&samples, tier, resolution_ms, kind, (after, after + length * resolution_ms));
            }
            check_window(&samples, tier, resolution_ms, kind, (START - HOUR_MS, START + DAY_MS));
            check_instants(&samples, tier, resolution_ms, resolution_ms, 0);
            check_instants(&samples, tier, resolution_ms, grid.0 + 200_000, grid.1);
        }
        // The same again, and the same from parts.
        let again = build(&vfs, &blocks, None, 2, kind);
        let cut = samples.values.len() / 2;
        let part = |range: std::ops::Range<usize>| {
            let (timestamps, values) = (samples.timestamps[range.clone()].to_vec(), samples.values[range].to_vec());
            (0, Samples { timestamps, values, ..Samples::default() }, Vec::new())
        };
        let parts = [raw(&vfs, 2, &[part(cut..samples.values.len())]), raw(&vfs, 3, &[part(0..cut)])];
        let from_parts = build(&vfs, &parts, None, 3, kind);
        for (at, resolution_ms) in RESOLUTIONS.into_iter().enumerate() {
            let first = read_all(&tiers[at], resolution_ms);
            prop_assert_eq!(&read_all(&again[at], resolution_ms), &first);
            prop_assert_eq!(&read_all(&from_parts[at], resolution_ms), &first);
            prop_assert_eq!(from_parts[at].windows().count(), 2);
        }
    }

    #[test]
    fn what_is_late_fills_empty_buckets_and_twice_changes_nothing(
        events in any_events(),
        late in any_events(),
        step_ms in prop_oneof![Just(15_000i64), Just(60_000), Just(400_000)],
        late_first_ms in 0i64..10 * HOUR_MS,
        kind in any_kind(),
    ) {
        let vfs = disk();
        let samples = samples_of(&events, step_ms, 0, kind);
        let late = samples_of(&late, 61_000, late_first_ms, kind);
        let whole = build(&vfs, &[raw(&vfs, 1, &[(0, samples, Vec::new())])], None, 1, kind);
        let late_block = [raw(&vfs, 2, &[(0, late.clone(), Vec::new())])];
        let filled = build(&vfs, &late_block, Some(&whole), 2, kind);
        let twice = build(&vfs, &late_block, Some(&filled), 3, kind);
        for (at, resolution_ms) in RESOLUTIONS.into_iter().enumerate() {
            let ends = |block: &Block, range| filled_buckets(block, 0, range, resolution_ms, &block.clock_cache());
            let before = ends(&whole[at], TimeRange::ALL);
            let (old, new) = (read(&whole[at], resolution_ms, Shape::Last).0, read(&filled[at], resolution_ms, Shape::Last).0);
            let of = |samples: &Samples, filled: bool| {
                let mut kept = samples.clone();
                kept.weigh();
                let is_in = |at: &Timestamp| before.binary_search(&super::buckets::bucket_end(*at, resolution_ms)).is_ok();
                window(&kept, i64::MIN, i64::MAX).into_iter().filter(|(at, _, _)| is_in(at) == filled)
                    .map(|(at, value, weight)| (at, value.to_bits(), weight)).collect::<Vec<_>>()
            };
            prop_assert_eq!(of(&new, true), of(&old, true));
            let mut unseen = late.clone();
            drop_filled(&mut unseen, (0, 0), &before, resolution_ms);
            let total = |points: Vec<(Timestamp, u64, u32)>| points.iter().map(|point| point.2).sum::<u32>();
            prop_assert_eq!(total(of(&new, false)) as usize, window(&unseen, i64::MIN, i64::MAX).len());
            prop_assert_eq!(read_all(&twice[at], resolution_ms), read_all(&filled[at], resolution_ms));
            prop_assert_eq!(twice[at].windows().count(), 2);
        }
    }

    #[test]
    fn damage_is_met_without_panic(
        events in any_events(),
        kind in any_kind(),
        changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..12),
    ) {
        let vfs = disk();
        let samples = samples_of(&events, 15_000, 0, kind);
        let gauges = histograms(&[3.0, 4.0, 1.0, 6.0, 8.0], ResetHint::Gauge);
        let series = [(0, samples, Vec::new()), (1, gauges, Vec::new())];
        let tiers = build(&vfs, &[raw(&vfs, 1, &series)], None, 1, kind);
        for (tier, resolution_ms) in tiers.iter().zip(RESOLUTIONS) {
            let mut bytes = vfs.read(&tier.path).unwrap();
            for (at, byte) in &changes {
                let at = *at as usize % bytes.len();
                bytes[at] = *byte;
            }
            let path = PathBuf::from(format!("/{resolution_ms}/1-0000000000000001-9.block"));
            let file = vfs.open(&path, crate::stdx::vfs::OpenMode::Create).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            let Ok(block) = Block::open(&vfs, &path, &Arc::new(Damaged::default()), 0) else { continue };
            let _ = read_all(&block, resolution_ms);
            let grid = Reading { shape: Shape::Instant, aligned: false, step_ms: 77_000, lookback_ms: 300_000, ..ALIGNED };
            let _ = read_as(&block, resolution_ms, grid, TimeRange::new(START, START + DAY_MS).unwrap());
            for series in 0..2 {
                let _ = filled_buckets(&block, series, TimeRange::ALL, resolution_ms, &block.clock_cache());
            }
            let (directory, old) = (PathBuf::from("/blocks"), Some(Arc::new(block)));
            let target = TierTarget { directory, resolution_ms, old, cleaned: Position::default() };
            let built = build_tiers(&*vfs, &[], TARGET, &[target], 9, &|_| kind, &|_, _| true, &Progress::default());
            prop_assert!(built.is_ok());
        }
    }
}

/// One a minute, counts as given.
fn histograms(counts: &[f64], reset_hint: ResetHint) -> Samples {
    let mut samples = Samples::default();
    for (at, count) in (0..).zip(counts) {
        let (zero_count, sum) = (*count, *count * 2.0);
        let histogram = Arc::new(Histogram { count: *count, zero_count, sum, reset_hint, ..Histogram::default() });
        samples.histograms.push(HistogramSample { timestamp: START + 1_000 + at * 60_000, histogram });
    }
    samples
}

#[test]
fn histograms_that_count_keep_first_last_and_both_sides_of_every_reset() {
    let vfs = disk();
    let counts: Vec<f64> = (0..600).map(|at| f64::from(at % 23 + at / 50)).collect();
    let samples = histograms(&counts, ResetHint::Unknown);
    let tiers = build(&vfs, &[raw(&vfs, 1, &[(0, samples.clone(), Vec::new())])], None, 1, MetricKind::Unknown);
    let increase = |histograms: &[HistogramSample]| {
        let ends = [0, histograms.len() - 1].map(|at| histograms[at].histogram.count);
        let falls = histograms.windows(2).filter(|pair| detect_reset(&pair[1].histogram, &pair[0].histogram));
        ends[1] - ends[0] + falls.map(|pair| pair[0].histogram.count).sum::<f64>()
    };
    for (tier, resolution_ms) in tiers.iter().zip(RESOLUTIONS) {
        let (ends, fidelity) = read(tier, resolution_ms, Shape::Ends);
        assert_eq!(fidelity, Fidelity::Exact);
        assert!(ends.histograms.len() < samples.histograms.len());
        assert_eq!(increase(&ends.histograms), increase(&samples.histograms));
        assert_eq!(ends.histogram_weights.iter().sum::<u32>(), 600);
        let (last, _) = read(tier, resolution_ms, Shape::Counts);
        assert_eq!(last.histogram_weights.iter().sum::<u32>(), 600);
        assert_eq!(last.histograms.len(), (600 * 60_000 / resolution_ms) as usize);
        assert_eq!(read(tier, resolution_ms, Shape::Sums).1, Fidelity::Approximate);
    }
}

#[test]
fn histograms_that_are_gauges_keep_last_and_sum() {
    let vfs = disk();
    let samples = histograms(&[1.0, 5.0, 2.0, 8.0, 4.0, 3.0], ResetHint::Gauge);
    let tiers = build(&vfs, &[raw(&vfs, 1, &[(0, samples.clone(), Vec::new())])], None, 1, MetricKind::Unknown);
    let (sums, fidelity) = read(&tiers[0], RESOLUTIONS[0], Shape::Sums);
    let counts: Vec<f64> = sums.histograms.iter().map(|sample| sample.histogram.count).collect();
    assert_eq!((counts, sums.histogram_weights, fidelity), (vec![20.0, 3.0], vec![5, 1], Fidelity::Exact));
    let (last, _) = read(&tiers[0], RESOLUTIONS[0], Shape::Instant);
    assert_eq!(last.histograms, [samples.histograms[4].clone(), samples.histograms[5].clone()]);
    assert_eq!(read(&tiers[0], RESOLUTIONS[0], Shape::Ends).1, Fidelity::Approximate);
}

#[test]
fn a_counter_that_falls_across_a_value_that_is_no_number_keeps_its_extremes_also_when_it_is_filled() {
    let vfs = disk();
    let counter = |first_ms: i64, values: &[f64]| {
        let mut samples = Samples::default();
        (0..).zip(values).for_each(|(at, value)| samples.push(START + first_ms + at * 15_000 + 1, *value));
        samples
    };
    let samples = counter(0, &[5.0, f64::NAN, 3.0, 9.0, f64::NAN, 6.0]);
    let whole = build(&vfs, &[raw(&vfs, 1, &[(0, samples, Vec::new())])], None, 1, MetricKind::Counter);
    let plain = counter(HOUR_MS, &[1.0, 2.0, 3.0]);
    let filled = build(&vfs, &[raw(&vfs, 2, &[(0, plain.clone(), Vec::new())])], Some(&whole), 2, MetricKind::Counter);
    let hidden = counter(2 * HOUR_MS, &[7.0, f64::NAN, 4.0, 8.0]);
    let before = build(&vfs, &[raw(&vfs, 3, &[(0, plain, Vec::new())])], None, 3, MetricKind::Counter);
    let late = build(&vfs, &[raw(&vfs, 4, &[(0, hidden, Vec::new())])], Some(&before), 4, MetricKind::Counter);
    for (at, resolution_ms) in RESOLUTIONS.into_iter().enumerate() {
        let extremes = |files: &[Arc<Block>]| {
            [Shape::Minima, Shape::Maxima].map(|shape| {
                let (samples, fidelity) = read(&files[at], resolution_ms, shape);
                assert_eq!(fidelity, Fidelity::Exact);
                samples.values
            })
        };
        assert_eq!(extremes(&whole), [[3.0], [9.0]]);
        assert_eq!(extremes(&filled), [[3.0, 1.0], [9.0, 3.0]]);
        assert_eq!(extremes(&late), [[1.0, 4.0], [3.0, 8.0]]);
    }
}

#[test]
fn a_series_with_one_sample_a_bucket_and_runs_stay_as_they_are() {
    let vfs = disk();
    let run = Run::new(3.0, START + 9, 15_000, RunEnd::StaleAt(START + 999_999));
    let samples = samples_of(&[Event::Up(1); 40], 400_000, 5, MetricKind::Unknown);
    let tiers = build(&vfs, &[raw(&vfs, 1, &[(0, samples.clone(), vec![run])])], None, 1, MetricKind::Unknown);
    assert_eq!(read(&tiers[0], RESOLUTIONS[0], Shape::Values), (samples, Fidelity::Exact));
    assert_eq!(read(&tiers[1], RESOLUTIONS[1], Shape::Values).1, Fidelity::Approximate);
    for (tier, resolution_ms) in tiers.iter().zip(RESOLUTIONS) {
        let (mut samples, mut runs) = (Samples::default(), Vec::new());
        let clocks = tier.clock_cache();
        if let Some(record) = tier.record_of(0) {
            read_tier(&record, (TimeRange::ALL, resolution_ms), &ALIGNED, &clocks, &mut samples, &mut runs);
        }
        assert_eq!(runs, [run]);
    }
}

#[test]
fn what_is_not_kept_is_left_out_and_nothing_makes_no_file() {
    let vfs = disk();
    let samples = samples_of(&[Event::Up(1); 40], 15_000, 5, MetricKind::Unknown);
    let blocks = [raw(&vfs, 1, &[(0, samples.clone(), Vec::new()), (1, samples, Vec::new())])];
    let target = || TierTarget {
        directory: PathBuf::from("/300000"),
        resolution_ms: 300_000,
        old: None,
        cleaned: Position::default(),
    };
    let build = |keeps: &dyn Fn(&Labels, i64) -> bool, progress: &Progress| {
        let kind = |_: &Labels| MetricKind::Unknown;
        build_tiers(&*vfs, &blocks, TARGET, &[target()], 1, &kind, keeps, progress).unwrap()
    };
    assert_eq!(build(&|_, _| false, &Progress::default()), [None]);
    let second = build(&|labels, _| *labels == self::labels(1), &Progress::default());
    let second = open(&vfs, second[0].as_ref().unwrap());
    assert_eq!((second.series(), second.labels(0)), (1, Some(labels(1))));
    let cancelled = Progress::default();
    cancelled.cancelled.store(true, Ordering::Relaxed);
    let series: Vec<_> =
        (0..100).map(|number| (number, samples_of(&[Event::Up(1)], 1, 0, MetricKind::Gauge), vec![])).collect();
    let many = [raw(&vfs, 2, &series)];
    let kind = |_: &Labels| MetricKind::Unknown;
    let built = build_tiers(&*vfs, &many, TARGET, &[target()], 5, &kind, &|_, _| true, &cancelled).unwrap();
    assert_eq!((built, vfs.list(Path::new("/300000")).unwrap().len()), (vec![None], 1));
}

/// Counters and gauges of one source share the times of their buckets.
#[test]
fn buckets_of_one_source_share_clocks() {
    let vfs = disk();
    let samples = |number: usize| samples_of(&vec![Event::Up(number as u8); 5_000], 15_007, 3, MetricKind::Counter);
    let series: Vec<_> = (0..50).map(|number| (number, samples(number), Vec::new())).collect();
    let tiers = build(&vfs, &[raw(&vfs, 1, &series)], None, 1, MetricKind::Unknown);
    assert_eq!(tiers[0].clock_cache().clocks(), 2, "of the first and of the last samples");
    // Series that begin and end at any time add a tick or two each.
    let part = |number: usize| {
        let Samples { timestamps, values, .. } = samples(number);
        let range = number * 7..5_000 - number * 3;
        (
            number,
            Samples {
                timestamps: timestamps[range.clone()].to_vec(),
                values: values[range].to_vec(),
                ..Samples::default()
            },
            Vec::new(),
        )
    };
    let parts = [raw(&vfs, 2, &(0..50).map(part).collect::<Vec<_>>())];
    let ragged = build(&vfs, &parts, None, 2, MetricKind::Unknown);
    let grown = ragged[0].file_bytes() - tiers[0].file_bytes();
    assert!(grown < 50 * 400, "{grown}");
    for number in 0..50 {
        let mut read = Samples::default();
        let clocks = ragged[0].clock_cache();
        let reading = Reading { shape: Shape::Ends, ..ALIGNED };
        let record = ragged[0].record_of(number).unwrap();
        let range = (TimeRange::ALL, RESOLUTIONS[0]);
        read_tier(&record, range, &reading, &clocks, &mut read, &mut Vec::new());
        let expected = part(number as usize).1;
        let all = |samples: &Samples| window(samples, i64::MIN, i64::MAX);
        assert_eq!(increase(&all(&read)), increase(&all(&expected)));
        assert_eq!(read.weights.iter().sum::<u32>() as usize, expected.values.len());
    }
}
