// The history of one project: its address, its lines, its figures and how they changed, its analyses.

import { EMPTY_EXPLORE, writeExplore, type EventFilter } from './explore';
import {
  CHARTS,
  GATE_METRIC,
  gateOf,
  letterOf,
  matchersOf,
  MEASURES,
  selectorOf,
  type ChartKind,
  type Gate,
  type MeasureKey,
  type QualityEvent,
} from './quality';
import type { Grid, GridSeries, Labels } from './result';
import { METRIC_NAME } from './series';
import type { Range } from './time';
import { formatCount, formatValue } from './units';

/** A name as a part of a path: what separates the parts of addresses is written as code. */
export function pathOf(project: string): string {
  // A colon is in most keys, and means nothing here.
  return `quality/${encodeURIComponent(project).replaceAll('%3A', ':')}`;
}

/** The default range of histories. */
export const HISTORY_RANGE: Range = { from: 'now-30d', to: 'now' };

/** What the page of one project shows, as its address says it. */
export interface HistoryState {
  /** Empty for the main one. */
  readonly branch: string;
  /** The key of the only chart that is shown; empty for all. */
  readonly metric: string;
  readonly range: Range;
}

export function readHistory(params: URLSearchParams): HistoryState {
  const metric = params.get('metric') ?? '';
  return {
    branch: params.get('branch') ?? '',
    metric: CHARTS.some((chart) => chart.key === metric) ? metric : '',
    range: { from: params.get('from') || HISTORY_RANGE.from, to: params.get('to') || HISTORY_RANGE.to },
  };
}

/** The address of a project's history, relative to the page's base. */
export function historyLink(project: string, state: Partial<HistoryState> = {}): string {
  const params = new URLSearchParams();
  if (state.branch) params.set('branch', state.branch);
  if (state.metric) params.set('metric', state.metric);
  if (state.range && (state.range.from !== HISTORY_RANGE.from || state.range.to !== HISTORY_RANGE.to)) {
    params.set('from', state.range.from);
    params.set('to', state.range.to);
  }
  return params.size > 0 ? `${pathOf(project)}?${params}` : pathOf(project);
}

/** The same chart in Explore, with the events of the branch. */
export function chartLink(chart: ChartKind, project: string, branch: string, range: Range): string {
  const queries = new Set(
    chart.lines.map(({ metric, labels = {} }) => {
      // Lines of one metric are one question.
      const more = Object.keys(labels).map((label) => `${label}!=""`);
      return selectorOf([metric], [...matchersOf(project, branch), ...more]);
    }),
  );
  const events: EventFilter = { project, branch };
  const state = { ...EMPTY_EXPLORE, queries: [...queries].map((text) => ({ text, off: false })), range, events };
  return `explore?${writeExplore({ ...state, stacked: chart.stacked })}`;
}

/** The lines of a chart out of all that was found; none where nothing has a value. */
export function chartGrid(chart: ChartKind, all: Grid): { grid: Grid; names: string[] } | undefined {
  const found = chart.lines.flatMap(({ name, metric, labels = {} }) => {
    const series = all.series.find((one) => isOf(one, metric, labels));
    return series?.values.some((value) => value !== null) ? [{ name, series }] : [];
  });
  if (found.length === 0) return undefined;
  return {
    grid: { times: all.times, series: found.map(({ series }) => series), histograms: 0 },
    names: found.map(({ name }) => name),
  };
}

function isOf(series: GridSeries, metric: string, labels: Labels = {}): boolean {
  return (
    series.labels[METRIC_NAME] === metric &&
    Object.entries(labels).every(([label, value]) => series.labels[label] === value)
  );
}

/** The values of a measure; empty where there are none. */
export function valuesOf(all: Grid, key: MeasureKey): readonly (number | null)[] {
  return all.series.find((series) => isOf(series, MEASURES[key].metric))?.values ?? [];
}

/** A headline: the newest value of a range and how it changed within it. */
export interface Figure {
  readonly value: number | undefined;
  /** Against the first value of the range; `undefined` where there are not two to compare. */
  readonly change: number | undefined;
}

export function figureOf(values: readonly (number | null)[]): Figure {
  const known = values.filter((value) => value !== null && Number.isFinite(value));
  // What has ended has no value now.
  const value = values.at(-1) ?? undefined;
  const [first] = known;
  return { value, change: value !== undefined && known.length > 1 && first != null ? value - first : undefined };
}

/** How a change is told: its text, and whether it is for the better. Nothing where nothing changed. */
export function changeText(key: MeasureKey, figure: Figure): { text: string; kind: 'good' | 'bad' | '' } | undefined {
  const { unit, better } = MEASURES[key];
  const { value, change } = figure;
  if (value === undefined || change === undefined) return undefined;
  const up = change > 0;
  const kind = better === 'none' ? '' : up === (better === 'up') ? 'good' : 'bad';
  if (unit === 'rating') {
    const [before, now] = [letterOf(value - change), letterOf(value)];
    return before === now ? undefined : { text: `was ${before}`, kind };
  }
  const size = Math.abs(change);
  const digits =
    unit === 'ratio'
      ? `${(size * 100).toFixed(1)} points`
      : unit === 'none'
        ? formatCount(size)
        : formatValue(size, unit);
  // Rounded to nothing, it is nothing.
  if (size === 0 || (unit === 'ratio' && size < 0.0005)) return undefined;
  return { text: `${up ? '+' : '−'}${digits}`, kind };
}

/** A time in which the gate stayed as it is; `undefined` where there was none. Seconds. */
export interface GateSpan {
  readonly gate: Gate | undefined;
  readonly start: number;
  readonly end: number;
}

/** The gate over time, out of its state set. */
export function gateSpans(all: Grid): GateSpan[] {
  const states = all.series.flatMap((series) => {
    const gate = isOf(series, GATE_METRIC) ? gateOf(series.labels['status']) : undefined;
    return gate ? [{ gate, values: series.values }] : [];
  });
  const spans: { gate: Gate | undefined; start: number; end: number }[] = [];
  all.times.forEach((start, index) => {
    const gate = states.find(({ values }) => values[index] === 1)?.gate;
    const before = spans.at(-1);
    const end = all.times[index + 1] ?? start;
    if (before && (before.gate === gate || end === start)) before.end = end;
    else spans.push({ gate, start, end });
  });
  return states.length > 0 ? spans : [];
}

/** An analysis, or an event that belongs to none that is known. */
export interface Analysis {
  readonly seconds: number;
  readonly gate: Gate | undefined;
  readonly values: Readonly<Partial<Record<MeasureKey, number>>>;
  readonly events: readonly QualityEvent[];
}

/** The analyses within a range, newest first, each with what it found and what happened then. */
export function analysesOf(all: Grid, events: readonly QualityEvent[]): Analysis[] {
  const dates = valuesOf(all, 'analysed');
  const keys = Object.keys(MEASURES) as MeasureKey[];
  const columns = keys.map((key) => [key, valuesOf(all, key)] as const);
  const states = all.series.filter((series) => isOf(series, GATE_METRIC));
  const found = new Map<number, { gate: Gate | undefined; values: Partial<Record<MeasureKey, number>> }>();
  const [begin = 0] = all.times;
  dates.forEach((date, index) => {
    // The one that held already when the range began is not of it.
    if (date === null || found.has(date) || date < begin) return;
    const values: Partial<Record<MeasureKey, number>> = {};
    for (const [key, column] of columns) {
      const value = column[index];
      if (value !== null && value !== undefined) values[key] = value;
    }
    const gate = gateOf(states.find((series) => series.values[index] === 1)?.labels['status']);
    found.set(date, { gate, values });
  });
  for (const { seconds } of events) if (!found.has(seconds)) found.set(seconds, { gate: undefined, values: {} });
  return [...found]
    .map(([seconds, { gate, values }]) => ({
      seconds,
      gate,
      values,
      events: events.filter((event) => event.seconds === seconds),
    }))
    .sort((a, b) => b.seconds - a.seconds);
}
