// Which page an address means: ours, and those that Prometheus used to have.

import { writeExplore, QUERIES_MAX, type View } from './explore';
import { DEFAULT_RANGE, parseDuration, parseTime } from './time';

export type Page =
  | 'home'
  | 'explore'
  | 'metrics'
  | 'targets'
  | 'push'
  | 'mailbox'
  | 'quality'
  | 'project'
  | 'status'
  | 'alerts'
  | 'unknown';

export interface Route {
  readonly page: Page;
  readonly params: URLSearchParams;
  /** The project whose page it is; empty elsewhere. */
  readonly project: string;
}

/** Paths are relative to the page's base and have no slash at either end. */
const PAGES: Readonly<Record<string, Page>> = {
  '': 'home',
  explore: 'explore',
  'explore/metrics': 'metrics',
  targets: 'targets',
  push: 'push',
  mailbox: 'mailbox',
  quality: 'quality',
  status: 'status',
  alerts: 'alerts',
};

/** Pages that are there once. */
export type Place = Exclude<Page, 'unknown' | 'project'>;

export const PATHS: Readonly<Record<Place, string>> = {
  home: '',
  explore: 'explore',
  metrics: 'explore/metrics',
  targets: 'targets',
  push: 'push',
  mailbox: 'mailbox',
  quality: 'quality',
  status: 'status',
  alerts: 'alerts',
};

/** Pages of Prometheus that are a part of one of ours. */
const MOVED: Readonly<Record<string, string>> = {
  config: 'status?tab=config',
  flags: 'status?tab=flags',
  'tsdb-status': 'explore/metrics?tab=cardinality',
  'service-discovery': 'targets',
  rules: 'alerts',
  'alertmanager-discovery': 'alerts',
};

/** The page of a path. */
export function route(path: string, params: URLSearchParams): Route {
  const name = trim(path);
  const project = projectOf(name);
  if (project !== '') return { page: 'project', params, project };
  return { page: (Object.hasOwn(PAGES, name) && PAGES[name]) || 'unknown', params, project: '' };
}

/** The project of `quality/...`; empty where it is no such path. */
function projectOf(path: string): string {
  const written = /^quality\/([^/]+)$/.exec(path)?.[1] ?? '';
  try {
    return decodeURIComponent(written);
  } catch {
    // A percent sign that begins no code.
    return '';
  }
}

/** Where an old address leads now, relative to the base; `undefined` where it is not an old one. */
export function moved(path: string, params: URLSearchParams): string | undefined {
  const name = trim(path);
  // Prometheus 2 had its classic page below one more name.
  const plain = name.replace(/^(?:classic|new)(?:\/|$)/, '');
  if (plain === 'graph' || plain === 'query') {
    const query = fromGraph(params).toString();
    return query === '' ? 'explore' : `explore?${query}`;
  }
  if (Object.hasOwn(MOVED, plain)) return MOVED[plain];
  return plain !== name && Object.hasOwn(PAGES, plain) ? plain : undefined;
}

/** `g0.expr=...&g0.range_input=1h&g0.end_input=...&g0.tab=0`, and `g1.` and so on for more. */
function fromGraph(params: URLSearchParams): URLSearchParams {
  const queries = Array.from({ length: QUERIES_MAX }, (_, index) => params.get(`g${index}.expr`)).filter(
    (text) => text !== null,
  );
  const tab = params.get('g0.tab') ?? '';
  // Prometheus 2 wrote numbers and opened the table where nothing was said.
  const view: View =
    tab === '0' || tab === 'graph' || (params.has('g0.range_input') && tab === '')
      ? 'graph'
      : tab === '' && queries.length === 0
        ? 'graph'
        : 'table';
  const length = params.get('g0.range_input') ?? '';
  const end = parseTime(params.get('g0.end_input') ?? params.get('g0.moment_input') ?? '', 0);
  const ms = parseDuration(length);
  let range = ms === undefined ? DEFAULT_RANGE : { from: `now-${length.replaceAll(' ', '')}`, to: 'now' };
  if (end !== undefined) range = { from: String(end - (ms ?? 3_600_000)), to: String(end) };
  const step = params.get('g0.step_input') ?? '';
  return writeExplore({
    queries: queries.map((text) => ({ text, off: false })),
    range,
    view,
    ...(/^\d+$/.test(step) ? { step: `${step}s` } : {}),
    stacked: params.get('g0.stacked') === '1' || params.get('g0.display_mode') === 'stacked',
    refresh: 0,
  });
}

function trim(path: string): string {
  return path.replace(/^\/+|\/+$/g, '');
}
