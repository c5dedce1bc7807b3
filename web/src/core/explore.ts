// What Explore shows, as its address says it.

import { DEFAULT_RANGE, parseDuration, type Range } from './time';

export type View = 'graph' | 'table' | 'raw' | 'explain';

export interface Query {
  readonly text: string;
  /** Kept, but not asked. */
  readonly off: boolean;
}

/** Whose quality events are marked in the chart; empty for everybody's. */
export interface EventFilter {
  readonly project: string;
  readonly branch: string;
}

export interface ExploreState {
  readonly queries: readonly Query[];
  readonly range: Range;
  readonly view: View;
  /** As written, such as `30s`; absent for one that fits the width. */
  readonly step?: string;
  /** Lines on each other instead of over each other. */
  readonly stacked: boolean;
  /** Seconds between refreshes; 0 for never. */
  readonly refresh: number;
  /** Absent while none are marked. */
  readonly events?: EventFilter;
}

/** Seconds to choose from. */
export const REFRESHES: readonly number[] = [0, 5, 15, 60, 300];

/** More than these would be a dashboard. */
export const QUERIES_MAX = 10;

export const EMPTY_EXPLORE: ExploreState = {
  queries: [{ text: '', off: false }],
  range: DEFAULT_RANGE,
  view: 'graph',
  stacked: false,
  refresh: 0,
};

/** Reads an address; what is wrong in it is as if it were not there. */
export function readExplore(params: URLSearchParams): ExploreState {
  const off = new Set((params.get('off') ?? '').split(',').filter(Boolean).map(Number));
  const queries = params
    .getAll('q')
    .slice(0, QUERIES_MAX)
    .map((text, index) => ({ text, off: off.has(index) }));
  const view = params.get('view');
  const step = params.get('step') ?? '';
  const refresh = Number(params.get('refresh') ?? 0);
  return {
    queries: queries.length > 0 ? queries : EMPTY_EXPLORE.queries,
    range: { from: params.get('from') || DEFAULT_RANGE.from, to: params.get('to') || DEFAULT_RANGE.to },
    view: view === 'table' || view === 'raw' || view === 'explain' ? view : 'graph',
    ...(parseDuration(step) ? { step } : {}),
    stacked: params.get('stacked') === '1',
    refresh: REFRESHES.includes(refresh) ? refresh : 0,
    ...(params.get('events') === 'quality'
      ? { events: { project: params.get('project') ?? '', branch: params.get('branch') ?? '' } }
      : {}),
  };
}

/** Writes an address; what is as usual is left out. */
export function writeExplore(state: ExploreState): URLSearchParams {
  const params = new URLSearchParams();
  const used = state.queries.some((query) => query.text !== '');
  for (const query of used ? state.queries : []) params.append('q', query.text);
  const off = state.queries.flatMap((query, index) => (used && query.off ? [index] : []));
  if (off.length > 0) params.set('off', off.join(','));
  if (state.range.from !== DEFAULT_RANGE.from || state.range.to !== DEFAULT_RANGE.to) {
    params.set('from', state.range.from);
    params.set('to', state.range.to);
  }
  if (state.view !== 'graph') params.set('view', state.view);
  if (state.step !== undefined) params.set('step', state.step);
  if (state.stacked) params.set('stacked', '1');
  if (state.refresh > 0) params.set('refresh', String(state.refresh));
  if (state.events) {
    params.set('events', 'quality');
    if (state.events.project !== '') params.set('project', state.events.project);
    if (state.events.branch !== '') params.set('branch', state.events.branch);
  }
  return params;
}

/** The address of a query in Explore, relative to the page's base. */
export function exploreLink(query: string, view: View = 'graph', range: Range = DEFAULT_RANGE): string {
  const params = writeExplore({ ...EMPTY_EXPLORE, queries: [{ text: query, off: false }], view, range });
  return `explore?${params}`;
}
