// Code quality as the sync with SonarCloud stores it: the names of its series, the shapes of its API, and what happened.

import { list, record, words } from './json';
import type { Labels } from './result';
import { METRIC_NAME, quote } from './series';
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

const chart = (key: string, title: string, unit: Unit, lines: ChartKind['lines'], stacked = false): ChartKind => ({
  key,
  title,
  unit,
  stacked,
  lines,
});

export const CHARTS: readonly ChartKind[] = [
  chart('coverage', 'Coverage', 'ratio', [
    line('all', MEASURES.coverage.metric),
    line('lines', 'sonar_line_coverage_ratio'),
    line('conditions', 'sonar_branch_coverage_ratio'),
  ]),
  chart(
    'severity',
    'Issues by severity',
    'none',
    ['blocker', 'critical', 'major', 'minor', 'info'].map((severity) => line(severity, 'sonar_issues', { severity })),
    true,
  ),
  chart('issues', 'Bugs, vulnerabilities, hotspots', 'none', [
    line('bugs', MEASURES.bugs.metric),
    line('vulnerabilities', MEASURES.vulnerabilities.metric),
    line('hotspots', MEASURES.hotspots.metric),
  ]),
  chart('ratings', 'Ratings', 'rating', [
    line('reliability', MEASURES.reliability.metric),
    line('security', MEASURES.security.metric),
    line('maintainability', MEASURES.maintainability.metric),
    line('security review', MEASURES.review.metric),
  ]),
  chart('debt', 'Technical debt', 'work', [line('to fix all code smells', MEASURES.debt.metric)]),
  chart('duplication', 'Duplication', 'ratio', [line('duplicated lines', MEASURES.duplication.metric)]),
  chart('lines', 'Lines of code', 'none', [line('lines', MEASURES.lines.metric)]),
];

/** A measure among `values` as a table shows it; a dash where it is not measured. */
export function measureText(values: Readonly<Partial<Record<MeasureKey, number>>>, key: MeasureKey): string {
  const value = values[key];
  if (value === undefined) return '–';
  return MEASURES[key].unit === 'none' ? formatCount(value) : formatValue(value, MEASURES[key].unit);
}

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
  readonly gate: Gate | undefined;
  readonly analysed: number | undefined;
  /** When it was found to be there no more. */
  readonly gone: number | undefined;
  readonly problem: string;
}

export interface Project {
  readonly key: string;
  readonly name: string;
  /** Seconds. */
  readonly synced: number | undefined;
  readonly branches: readonly Branch[];
  readonly problem: string;
}

/** How the sync does since the server started; times in seconds. */
export interface SyncStatus {
  /** There is a `sonar:` in the config. */
  readonly configured: boolean;
  readonly running: boolean;
  /** Seconds between two syncs; 0 where it is not known. */
  readonly interval: number;
  /** The last one that left nothing out, and the last one at all. */
  readonly succeeded: number | undefined;
  readonly ended: number | undefined;
  /** Seconds since the oldest analysis was made that is known and not stored. */
  readonly lag: number;
  /** What keeps everything from being synced. */
  readonly problem: string;
  /** How its series are named. */
  readonly scheme: string;
  readonly projects: readonly Project[];
}

export const NOT_CONFIGURED: SyncStatus = {
  configured: false,
  running: false,
  interval: 0,
  succeeded: undefined,
  ended: undefined,
  lag: 0,
  problem: '',
  scheme: 'base',
  projects: [],
};

const seconds = (value: unknown): number => (typeof value === 'number' ? value / 1000 : 0);
/** Milliseconds of the API as seconds; what is missing, or 0, is no time. */
const moment = (value: unknown): number | undefined => seconds(value) || undefined;

/** Reads the answers of `api/v1/sonar/status` and `api/v1/sonar/projects`. */
export function readStatus(data: unknown, found: unknown): SyncStatus {
  const status = record(data);
  const problems = list(status['problems']).map((one) => {
    const problem = record(one);
    return {
      project: words(problem['project']),
      branch: words(problem['branch']),
      message: words(problem['message']),
    };
  });
  const problemOf = (project: string, branch: string): string =>
    problems.find((problem) => problem.project === project && problem.branch === branch)?.message ?? '';
  return {
    configured: status['is_configured'] === true,
    running: status['is_running'] === true,
    interval: seconds(status['interval_ms']),
    succeeded: moment(status['success_ms']),
    ended: moment(status['ended_ms']),
    lag: seconds(status['lag_ms']),
    problem: problemOf('', ''),
    scheme: words(status['names']) || 'base',
    projects: list(record(found)['projects']).map((one) => {
      const project = record(one);
      const key = words(project['key']);
      return {
        key,
        name: words(project['name']) || key,
        synced: moment(project['synced_ms']),
        problem: problemOf(key, ''),
        branches: list(project['branches']).map((each) => {
          const branch = record(each);
          const name = words(branch['name']);
          return {
            name,
            main: branch['is_main'] === true,
            gate: gateOf(words(branch['gate']).toLowerCase()),
            analysed: moment(branch['analyzed_ms']) ?? moment(branch['stored_ms']),
            gone: moment(branch['gone_ms']),
            problem: problemOf(key, name),
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

/** The events of a time, newest first. */
export interface Happened {
  readonly events: readonly QualityEvent[];
  /** There are older ones that the server leaves out, because they are too many. */
  readonly cut: boolean;
}

/** Reads the answer of `api/v1/sonar/events`. */
export function readEvents(data: unknown): Happened {
  const events = list(record(data)['events']).flatMap((one) => {
    const event = record(one);
    const at = moment(event['time_ms']);
    if (at === undefined) return [];
    return [
      {
        seconds: at,
        project: words(event['project']),
        branch: words(event['branch']),
        category: words(event['category']),
        name: words(event['name']),
      },
    ];
  });
  return { events: events.sort((a, b) => b.seconds - a.seconds), cut: record(data)['is_truncated'] === true };
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

/** The gate of a status in small letters. */
export function gateOf(status: string | undefined): Gate | undefined {
  return status === 'ok' || status === 'warn' || status === 'error' ? status : undefined;
}

/** Whether what is there is worth a word: what failed, or that nothing came for long. */
export function syncTrouble(
  status: SyncStatus,
  nowSeconds: number,
): { kind: 'bad' | 'warn'; text: string } | undefined {
  if (!status.configured) return undefined;
  if (status.problem !== '') return { kind: 'bad', text: status.problem };
  // One sync that is late is none that is missing.
  const allowed = 2 * status.interval + 600;
  if (status.ended !== undefined && !status.running && nowSeconds - status.ended > allowed)
    return { kind: 'warn', text: 'No sync ended for longer than two intervals: what is shown may be old.' };
  if (status.lag > allowed)
    return {
      kind: 'warn',
      text: `Analyses wait to be stored, the oldest for ${formatValue(status.lag, 'seconds')}: what is shown may be old.`,
    };
  return undefined;
}

/** Projects of which something could not be synced. */
export function failedProjects(status: SyncStatus): number {
  return status.projects.filter(
    (project) => project.problem !== '' || project.branches.some((branch) => branch.problem !== ''),
  ).length;
}

/** What to write into the config, to begin with. */
export const CONFIG_SNIPPET = `sonar:
  url: https://sonarcloud.io
  organization: my-organization
  token_file: /etc/observatory/sonar.token
  projects: all
  interval: 1h
  history: 30d`;
