// Code quality as the sync with SonarCloud stores it: the names of its series, the shapes of its API, and what pages make of them.

import { EMPTY_EXPLORE, writeExplore, type EventFilter } from './explore';
import type { Grid, GridSeries, Labels, Row } from './result';
import { METRIC_NAME, quote } from './series';
import type { Range } from './time';
import { formatCount, formatValue, type Unit } from './units';

/** What one number of a project is, and which way it should go. */
export interface Measure {
  readonly metric: string;
  readonly label: string;
  readonly unit: Unit;
  readonly better: 'up' | 'down' | 'none';
}

export const MEASURES = {
  coverage: { metric: 'sonar_coverage_ratio', label: 'Coverage', unit: 'ratio', better: 'up' },
  bugs: { metric: 'sonar_bugs', label: 'Bugs', unit: 'none', better: 'down' },
  vulnerabilities: { metric: 'sonar_vulnerabilities', label: 'Vulnerabilities', unit: 'none', better: 'down' },
  smells: { metric: 'sonar_code_smells', label: 'Code smells', unit: 'none', better: 'down' },
  hotspots: { metric: 'sonar_security_hotspots', label: 'Hotspots', unit: 'none', better: 'down' },
  reliability: { metric: 'sonar_reliability_rating', label: 'Reliability', unit: 'rating', better: 'down' },
  security: { metric: 'sonar_security_rating', label: 'Security', unit: 'rating', better: 'down' },
  maintainability: { metric: 'sonar_sqale_rating', label: 'Maintainability', unit: 'rating', better: 'down' },
  review: { metric: 'sonar_security_review_rating', label: 'Security review', unit: 'rating', better: 'down' },
  debt: { metric: 'sonar_sqale_index_seconds', label: 'Technical debt', unit: 'work', better: 'down' },
  duplication: {
    metric: 'sonar_duplicated_lines_density_ratio',
    label: 'Duplication',
    unit: 'ratio',
    better: 'down',
  },
  lines: { metric: 'sonar_ncloc', label: 'Lines of code', unit: 'none', better: 'none' },
  analysed: { metric: 'sonar_analysis_timestamp_seconds', label: 'Last analysis', unit: 'date', better: 'none' },
} as const satisfies Record<string, Measure>;

export type MeasureKey = keyof typeof MEASURES;

/** A state set: 1 at the status that it has. */
export const GATE_METRIC = 'sonar_quality_gate_status';

export type Gate = 'ok' | 'warn' | 'error';

export const GATES: Readonly<Record<Gate, { readonly label: string; readonly kind: 'good' | 'warn' | 'bad' }>> = {
  ok: { label: 'Passed', kind: 'good' },
  warn: { label: 'Warning', kind: 'warn' },
  error: { label: 'Failed', kind: 'bad' },
};

/** A chart of one project. `queries` hold `$` for the matchers of project and branch. */
export interface ChartKind {
  readonly key: string;
  readonly title: string;
  readonly unit: Unit;
  readonly stacked: boolean;
  /** Each line: its name, the metric, and more matchers of its own. */
  readonly lines: readonly { readonly name: string; readonly metric: string; readonly labels?: Labels }[];
}

const line = (name: string, metric: string, labels?: Labels): ChartKind['lines'][number] => ({
  name,
  metric,
  ...(labels ? { labels } : {}),
});

export const CHARTS: readonly ChartKind[] = [
  {
    key: 'coverage',
    title: 'Coverage',
    unit: 'ratio',
    stacked: false,
    lines: [
      line('all', MEASURES.coverage.metric),
      line('lines', 'sonar_line_coverage_ratio'),
      line('conditions', 'sonar_branch_coverage_ratio'),
    ],
  },
  {
    key: 'severity',
    title: 'Issues by severity',
    unit: 'none',
    stacked: true,
    lines: ['blocker', 'critical', 'major', 'minor', 'info'].map((severity) =>
      line(severity, 'sonar_issues', { severity }),
    ),
  },
  {
    key: 'issues',
    title: 'Bugs, vulnerabilities, hotspots',
    unit: 'none',
    stacked: false,
    lines: [
      line('bugs', MEASURES.bugs.metric),
      line('vulnerabilities', MEASURES.vulnerabilities.metric),
      line('hotspots', MEASURES.hotspots.metric),
    ],
  },
  {
    key: 'ratings',
    title: 'Ratings',
    unit: 'rating',
    stacked: false,
    lines: [
      line('reliability', MEASURES.reliability.metric),
      line('security', MEASURES.security.metric),
      line('maintainability', MEASURES.maintainability.metric),
      line('security review', MEASURES.review.metric),
    ],
  },
  {
    key: 'debt',
    title: 'Technical debt',
    unit: 'work',
    stacked: false,
    lines: [line('to fix all code smells', MEASURES.debt.metric)],
  },
  {
    key: 'duplication',
    title: 'Duplication',
    unit: 'ratio',
    stacked: false,
    lines: [line('duplicated lines', MEASURES.duplication.metric)],
  },
  {
    key: 'lines',
    title: 'Lines of code',
    unit: 'none',
    stacked: false,
    lines: [line('lines', MEASURES.lines.metric)],
  },
];

/** A selector of some metrics with the matchers as they are written. */
export function selectorOf(metrics: readonly string[], matchers: readonly string[]): string {
  const [only = ''] = metrics;
  if (metrics.length === 1) return matchers.length > 0 ? `${only}{${matchers.join(',')}}` : only;
  return `{${[`${METRIC_NAME}=~${quote(metrics.join('|'))}`, ...matchers].join(',')}}`;
}

/** Matches any of these values, and nothing else. */
export function anyOf(label: string, values: readonly string[]): string {
  const [only = ''] = values;
  if (values.length === 1) return `${label}=${quote(only)}`;
  return `${label}=~${quote(values.map((value) => value.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)).join('|'))}`;
}

/** The matchers of one branch of one project. */
export function matchersOf(project: string, branch: string): string[] {
  return [`project=${quote(project)}`, `branch=${quote(branch)}`];
}

/** All that the history of one branch is drawn from. */
export function historyQuery(project: string, branch: string): string {
  const metrics = new Set([
    GATE_METRIC,
    ...Object.values(MEASURES).map((measure) => measure.metric),
    ...CHARTS.flatMap((chart) => chart.lines.map((one) => one.metric)),
  ]);
  return selectorOf([...metrics], matchersOf(project, branch));
}

/** The newest of everything in the list; of some branches, or of all. */
export function listQuery(branches: readonly string[] | undefined): string {
  const metrics = [GATE_METRIC, ...Object.values(MEASURES).map((measure) => measure.metric)];
  return selectorOf(metrics, branches && branches.length > 0 ? [anyOf('branch', branches)] : []);
}

/** A branch as the sync knows it; times in seconds. */
export interface Branch {
  readonly name: string;
  readonly main: boolean;
  readonly analysed: number | undefined;
  readonly synced: number | undefined;
  readonly problem: string;
}

export interface Project {
  readonly key: string;
  readonly name: string;
  readonly branches: readonly Branch[];
  readonly problem: string;
}

/** How the sync does; times in seconds. */
export interface SyncStatus {
  /** There is a `sonar:` in the config. */
  readonly configured: boolean;
  readonly running: boolean;
  /** Seconds between two syncs; 0 where it is not known. */
  readonly interval: number;
  readonly succeeded: number | undefined;
  readonly attempted: number | undefined;
  readonly problem: string;
  /** The names of its series are those of another exporter, which these pages do not read. */
  readonly scheme: string;
  readonly projects: readonly Project[];
}

export const NOT_CONFIGURED: SyncStatus = {
  configured: false,
  running: false,
  interval: 0,
  succeeded: undefined,
  attempted: undefined,
  problem: '',
  scheme: 'base',
  projects: [],
};

type Json = Readonly<Record<string, unknown>>;

const record = (value: unknown): Json => (typeof value === 'object' && value !== null ? (value as Json) : {});
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const words = (value: unknown): string => (typeof value === 'string' ? value : '');
/** Milliseconds of the API as seconds; what is missing, or 0, is no time. */
const moment = (value: unknown): number | undefined =>
  typeof value === 'number' && value > 0 ? value / 1000 : undefined;

/** Reads the answer of `api/v1/sonar/status`. */
export function readStatus(data: unknown): SyncStatus {
  const status = record(data);
  const interval = status['interval_ms'];
  return {
    configured: status['configured'] === true,
    running: status['running'] === true,
    interval: typeof interval === 'number' ? interval / 1000 : 0,
    succeeded: moment(status['last_success_ms']),
    attempted: moment(status['last_attempt_ms']),
    problem: words(status['problem']),
    scheme: words(status['names']) || 'base',
    projects: list(status['projects']).map((one) => {
      const project = record(one);
      const key = words(project['key']);
      return {
        key,
        name: words(project['name']) || key,
        problem: words(project['problem']),
        branches: list(project['branches']).map((each) => {
          const branch = record(each);
          return {
            name: words(branch['name']),
            main: branch['main'] === true,
            analysed: moment(branch['last_analysis_ms']),
            synced: moment(branch['last_sync_ms']),
            problem: words(branch['problem']),
          };
        }),
      };
    }),
  };
}

/** Something that happened to a project, as SonarCloud tells it. */
export interface QualityEvent {
  readonly seconds: number;
  readonly project: string;
  readonly branch: string;
  readonly category: string;
  readonly name: string;
}

/** Reads the answer of `api/v1/sonar/events`, newest first. */
export function readEvents(data: unknown): QualityEvent[] {
  const events = list(Array.isArray(data) ? data : record(data)['events']).flatMap((one) => {
    const event = record(one);
    const seconds = moment(event['time_ms']);
    if (seconds === undefined) return [];
    return [
      {
        seconds,
        project: words(event['project']),
        branch: words(event['branch']),
        category: words(event['category']),
        name: words(event['name']),
      },
    ];
  });
  return events.sort((a, b) => b.seconds - a.seconds);
}

const CATEGORIES: Readonly<Record<string, string>> = {
  VERSION: 'Version',
  QUALITY_GATE: 'Quality gate',
  QUALITY_PROFILE: 'Quality profile',
  DEFINITION_CHANGE: 'Definition',
};

/** What kind of event it is, in words. */
export function categoryOf(event: QualityEvent): string {
  return (Object.hasOwn(CATEGORIES, event.category) && CATEGORIES[event.category]) || 'Event';
}

/** Good or bad news, or just news. */
export type Kind = 'good' | 'warn' | 'bad' | 'note';

/** Gates are told apart by the words that SonarCloud and the releases of SonarQube use for them. */
export function kindOf(event: QualityEvent): Kind {
  if (event.category !== 'QUALITY_GATE') return 'note';
  if (/^\s*(?:green|passed|ok)\b/i.test(event.name)) return 'good';
  if (/^\s*(?:orange|warn)/i.test(event.name)) return 'warn';
  if (/^\s*(?:red|failed|error)\b/i.test(event.name)) return 'bad';
  return 'note';
}

/** A moment that is marked in a chart. */
export interface Mark {
  readonly seconds: number;
  readonly kind: Kind;
  readonly text: string;
}

/** Marks of events; with whose they are, where that is not clear. */
export function marksOf(events: readonly QualityEvent[], named: boolean): Mark[] {
  return events.map((event) => ({
    seconds: event.seconds,
    kind: kindOf(event),
    text: `${named ? `${event.project} ${event.branch}: ` : ''}${categoryOf(event)} ${event.name}`,
  }));
}

/** `A` to `E`; nothing for what is no rating. */
export function letterOf(rating: number | undefined): string {
  return rating === undefined ? '' : ('ABCDE'[Math.round(rating) - 1] ?? '');
}

/** A line of the list. What a project has no number for is not in `values`. */
export interface QualityRow {
  readonly project: string;
  readonly name: string;
  readonly branch: string;
  readonly main: boolean;
  readonly gate: Gate | undefined;
  readonly values: Readonly<Partial<Record<MeasureKey, number>>>;
  /** Seconds. */
  readonly analysed: number | undefined;
  readonly synced: number | undefined;
  readonly problem: string;
}

const KEY_OF: ReadonlyMap<string, MeasureKey> = new Map(
  Object.entries(MEASURES).map(([key, measure]) => [measure.metric, key as MeasureKey]),
);
/** Branches that are the main one where nobody says which is. */
const MAIN_NAMES: readonly string[] = ['main', 'master', 'develop', 'trunk'];

/** The main one of these branches. */
export function mainBranch(branches: readonly { readonly name: string; readonly main: boolean }[]): string {
  const told = branches.find((branch) => branch.main)?.name;
  const known = MAIN_NAMES.find((name) => branches.some((branch) => branch.name === name));
  return told ?? known ?? branches[0]?.name ?? '';
}

const ID_GAP = '\n';
const idOf = (project: string, branch: string): string => `${project}${ID_GAP}${branch}`;

/** Joins what the sync says and what is stored: a line for each branch of each project that either knows. */
export function joinProjects(projects: readonly Project[], stored: readonly Row[]): QualityRow[] {
  const values = new Map<string, { gate: Gate | undefined; numbers: Partial<Record<MeasureKey, number>> }>();
  const branches = new Map<string, Map<string, Branch>>();
  for (const project of projects)
    branches.set(project.key, new Map(project.branches.map((branch) => [branch.name, branch])));
  for (const { labels, value } of stored) {
    const [project = '', branch = ''] = [labels['project'], labels['branch']];
    if (project === '') continue;
    const known = branches.get(project) ?? new Map<string, Branch>();
    branches.set(project, known);
    if (!known.has(branch))
      known.set(branch, { name: branch, main: false, analysed: undefined, synced: undefined, problem: '' });
    const id = idOf(project, branch);
    const found = values.get(id) ?? { gate: undefined, numbers: {} };
    values.set(id, found);
    const metric = labels[METRIC_NAME] ?? '';
    const key = KEY_OF.get(metric);
    if (key && Number.isFinite(value)) found.numbers[key] = value;
    if (metric === GATE_METRIC && value === 1) found.gate = gateOf(labels['status']);
  }
  const names = new Map(projects.map((project) => [project.key, project]));
  return [...branches].flatMap(([project, known]) => {
    const main = mainBranch([...known.values()]);
    const told = names.get(project);
    const row = (branch: Branch): QualityRow => {
      const found = values.get(idOf(project, branch.name));
      return {
        project,
        name: told?.name ?? project,
        branch: branch.name,
        main: branch.name === main,
        gate: found?.gate,
        values: found?.numbers ?? {},
        analysed: branch.analysed ?? found?.numbers.analysed,
        synced: branch.synced,
        problem: branch.problem || (told?.problem ?? ''),
      };
    };
    // A project whose branches could not be asked for is still one.
    if (known.size === 0)
      return [row({ name: '', main: true, analysed: undefined, synced: undefined, problem: told?.problem ?? '' })];
    return [...known.values()].map(row);
  });
}

function gateOf(status: string | undefined): Gate | undefined {
  return status === 'ok' || status === 'warn' || status === 'error' ? status : undefined;
}

/** What the list can be sorted by. */
export type SortKey = 'name' | 'gate' | 'analysed' | Exclude<MeasureKey, 'analysed'>;

/** What the list shows, as its address says it. */
export interface ListState {
  readonly text: string;
  /** Empty for the main branch of each, `*` for all of them. */
  readonly branch: string;
  readonly gate: Gate | '';
  readonly sort: SortKey;
  readonly down: boolean;
}

export const ALL_BRANCHES = '*';

export function readList(params: URLSearchParams): ListState {
  const sort = params.get('sort') ?? '';
  const key = sort.replace(/^-/, '');
  const known = key === 'name' || key === 'gate' || Object.hasOwn(MEASURES, key);
  return {
    text: params.get('q') ?? '',
    branch: params.get('branch') ?? '',
    gate: gateOf(params.get('gate') ?? '') ?? '',
    sort: known ? (key as SortKey) : 'name',
    down: known && sort.startsWith('-'),
  };
}

export function writeList(state: ListState): string {
  const params = new URLSearchParams();
  if (state.text !== '') params.set('q', state.text);
  if (state.branch !== '') params.set('branch', state.branch);
  if (state.gate !== '') params.set('gate', state.gate);
  if (state.sort !== 'name' || state.down) params.set('sort', `${state.down ? '-' : ''}${state.sort}`);
  return params.size > 0 ? `quality?${params}` : 'quality';
}

/** The lines that are wanted, but for the gate: so that gates can be counted. */
export function filterRows(rows: readonly QualityRow[], state: ListState): QualityRow[] {
  const text = state.text.trim().toLowerCase();
  return rows.filter(
    (row) =>
      (state.branch === ALL_BRANCHES || (state.branch === '' ? row.main : row.branch === state.branch)) &&
      `${row.name}\n${row.project}\n${row.branch}`.toLowerCase().includes(text),
  );
}

const BY_NAME = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });
const GATE_ORDER: readonly (Gate | undefined)[] = ['error', 'warn', 'ok'];

/** Sorted; what has no value is last, whichever way. */
export function sortRows(rows: readonly QualityRow[], sort: SortKey, down: boolean): QualityRow[] {
  const value = (row: QualityRow): number | undefined => {
    if (sort === 'gate') return row.gate && GATE_ORDER.indexOf(row.gate);
    if (sort === 'analysed') return row.analysed;
    return sort === 'name' ? undefined : row.values[sort];
  };
  const byName = (a: QualityRow, b: QualityRow): number =>
    BY_NAME.compare(a.name, b.name) ||
    BY_NAME.compare(a.project, b.project) ||
    Number(b.main) - Number(a.main) ||
    BY_NAME.compare(a.branch, b.branch);
  return rows.toSorted((a, b) => {
    if (sort === 'name') return (down ? -1 : 1) * byName(a, b);
    const [left, right] = [value(a), value(b)];
    if (left === undefined || right === undefined)
      return Number(left === undefined) - Number(right === undefined) || byName(a, b);
    return (down ? -1 : 1) * (left - right) || byName(a, b);
  });
}

/** Whether what is there is worth a word: an error, or that nothing came for long. */
export function syncTrouble(
  status: SyncStatus,
  nowSeconds: number,
): { kind: 'bad' | 'warn'; text: string } | undefined {
  if (!status.configured) return undefined;
  if (status.problem !== '') return { kind: 'bad', text: status.problem };
  // One sync that is late is none that is missing.
  const allowed = 2 * status.interval + 600;
  if (status.succeeded !== undefined && status.interval > 0 && nowSeconds - status.succeeded > allowed)
    return { kind: 'warn', text: 'No sync succeeded for longer than two intervals: what is shown may be old.' };
  return undefined;
}

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
  const rest = Map.groupBy(events, (event) => event.seconds);
  for (const seconds of rest.keys()) if (!found.has(seconds)) found.set(seconds, { gate: undefined, values: {} });
  return [...found]
    .map(([seconds, { gate, values }]) => ({ seconds, gate, values, events: rest.get(seconds) ?? [] }))
    .sort((a, b) => b.seconds - a.seconds);
}

/** What to write into the config, to begin with. */
export const CONFIG_SNIPPET = `sonar:
  url: https://sonarcloud.io
  organization: my-organization
  token_file: /etc/observatory/sonar.token
  projects: all
  interval: 1h
  history: 30d`;
