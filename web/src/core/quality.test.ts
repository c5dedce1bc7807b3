import { describe, expect, test } from 'vitest';
import { readExplore } from './explore';
import {
  anyOf,
  categoryOf,
  CHARTS,
  failedProjects,
  historyQuery,
  kindOf,
  letterOf,
  listQuery,
  marksOf,
  readEvents,
  readStatus,
  selectorOf,
  syncTrouble,
  type QualityEvent,
} from './quality';
import { filterRows, joinProjects, mainBranch, readList, sortRows, writeList } from './quality-list';
import {
  analysesOf,
  changeText,
  chartGrid,
  chartLink,
  figureOf,
  gateSpans,
  historyLink,
  pathOf,
  readHistory,
} from './quality-history';
import type { Grid, Labels, Row } from './result';
import { route } from './routes';

const row = (metric: string, project: string, branch: string, value: number, more: Labels = {}): Row => ({
  labels: { __name__: metric, project, branch, ...more },
  seconds: 0,
  text: String(value),
  value,
});
const grid = (series: readonly (readonly [Labels, (number | null)[]])[], start = 0, step = 10): Grid => ({
  times: Float64Array.from(series[0]?.[1] ?? [], (_, index) => start + index * step),
  series: series.map(([labels, values]) => ({ labels, values })),
  histograms: 0,
});
const event = (seconds: number, category: string, name: string): QualityEvent => ({
  seconds,
  project: 'org:a',
  branch: 'main',
  category,
  name,
});
const NOW = 1_700_000_000;
const STATUS = {
  is_configured: true,
  is_running: false,
  interval_ms: 3_600_000,
  success_ms: (NOW - 9_000) * 1000,
  ended_ms: (NOW - 600) * 1000,
  lag_ms: 0,
  names: 'base',
  // Counts; those themselves come by another way.
  projects: 2,
  branches: 2,
  problems: [{ project: 'org:b', message: 'no', at_ms: 1 }],
};
const FOUND = {
  projects: [
    {
      key: 'org:a',
      name: 'A',
      synced_ms: NOW * 1000,
      branches: [
        { name: 'main', is_main: true, analyzed_ms: NOW * 1000, stored_ms: null, gate: 'OK', gone_ms: null },
        { name: 'feature/x', is_main: false, analyzed_ms: null, stored_ms: 5_000, gate: null, gone_ms: 6_000 },
      ],
    },
    { key: 'org:b', name: '', synced_ms: null, branches: [] },
  ],
};

describe('questions', () => {
  test('values are matched as they are, whatever they hold', () => {
    expect(anyOf('branch', ['feature/x'])).toBe('branch="feature/x"');
    expect(anyOf('project', ['a.b:c', 'd"|e\\'])).toBe(String.raw`project=~"a\\.b:c|d\"\\|e\\\\"`);
    expect(selectorOf(['a'], [])).toBe('a');
    expect(selectorOf(['a'], ['x="1"'])).toBe('a{x="1"}');
    expect(selectorOf(['a', 'b'], ['x="1"'])).toBe('{__name__=~"a|b",x="1"}');
  });

  test('a history is one question, of all that is drawn', () => {
    const query = historyQuery('a"b', 'feature/x');
    expect(query).toContain('project="a\\"b",branch="feature/x"');
    for (const { lines } of CHARTS)
      for (const { metric } of lines) expect(query).toMatch(new RegExp(`["|]${metric}["|]`));
    expect(listQuery(undefined)).not.toContain('branch');
    expect(listQuery(['main', 'master'])).toContain('branch=~"main|master"');
  });
});

describe('what the server says', () => {
  test('a status is read, and problems find whose they are', () => {
    const status = readStatus(STATUS, FOUND);
    expect(status).toMatchObject({ configured: true, running: false, interval: 3600, lag: 0, problem: '' });
    expect(status.ended).toBe(NOW - 600);
    const [a, b] = status.projects;
    expect(a?.branches[0]).toEqual({
      name: 'main',
      main: true,
      gate: 'ok',
      analysed: NOW,
      gone: undefined,
      problem: '',
    });
    expect(a?.branches[1]).toMatchObject({ analysed: 5, gone: 6, gate: undefined });
    expect(b).toMatchObject({ name: 'org:b', problem: 'no', synced: undefined });
    expect(failedProjects(status)).toBe(1);
  });

  test.each([undefined, null, 7, 'text', [], {}, { projects: 3, problems: [null], interval_ms: 'x' }])(
    'nonsense such as %j is no status and no event',
    (data) => {
      expect(readStatus(data, data)).toMatchObject({ configured: false, problem: '', interval: 0, projects: [] });
      expect(readEvents(data)).toEqual({ events: [], cut: false });
    },
  );

  test('events come newest first, and their words say whether they are good news', () => {
    const { events, cut } = readEvents({
      is_truncated: true,
      events: [
        { time_ms: 1_000, project: 'a', branch: 'b', category: 'VERSION', name: '1.0' },
        { time_ms: 2_000, project: 'a', branch: 'b', category: 'QUALITY_GATE', name: 'Red (was Green)' },
        { project: 'without a time' },
      ],
    });
    expect(cut).toBe(true);
    expect(events.map((one) => one.seconds)).toEqual([2, 1]);
    expect(events.map(kindOf)).toEqual(['bad', 'note']);
    expect(events.map(categoryOf)).toEqual(['Quality gate', 'Version']);
    for (const [name, kind] of [
      ['Green (was Red)', 'good'],
      ['Passed', 'good'],
      ['Failed', 'bad'],
      ['Orange (was Green)', 'warn'],
      ['Whatever', 'note'],
    ] as const)
      expect(kindOf(event(1, 'QUALITY_GATE', name)), name).toBe(kind);
    expect(kindOf(event(1, 'OTHER', 'Failed'))).toBe('note');
    expect(categoryOf(event(1, 'toString', ''))).toBe('Event');
    expect(marksOf(events, true)[1]?.text).toBe('a b: Version 1.0');
    expect(marksOf(events, false)[1]?.text).toBe('Version 1.0');
  });

  test('trouble is told when something failed, or nothing came for long', () => {
    const fine = readStatus(STATUS, FOUND);
    expect(syncTrouble(fine, NOW)).toBeUndefined();
    expect(syncTrouble(fine, NOW + 20_000)?.kind).toBe('warn');
    expect(syncTrouble({ ...fine, running: true }, NOW + 20_000)).toBeUndefined();
    expect(syncTrouble({ ...fine, lag: 20_000 }, NOW)?.text).toContain('5 h 33 min');
    expect(syncTrouble({ ...fine, problem: 'no token' }, NOW)).toEqual({ kind: 'bad', text: 'no token' });
    expect(syncTrouble({ ...fine, configured: false, problem: 'x' }, NOW)).toBeUndefined();
  });
});

describe('the list', () => {
  const stored = [
    row('sonar_coverage_ratio', 'org:a', 'main', 0.5),
    row('sonar_bugs', 'org:a', 'main', 0),
    row('sonar_quality_gate_status', 'org:a', 'main', 0, { status: 'ok' }),
    row('sonar_quality_gate_status', 'org:a', 'main', 1, { status: 'error' }),
    row('sonar_ncloc', 'only stored', 'develop', 9),
    row('sonar_ncloc', 'only stored', 'topic/z', 8),
    row('sonar_coverage_ratio', 'only stored', 'develop', Number.NaN),
  ];
  const rows = joinProjects(readStatus(STATUS, FOUND).projects, stored);
  const of = (project: string, branch: string) => rows.find((one) => one.project === project && one.branch === branch);

  test('joins what the sync says and what is stored, and has no number where there is none', () => {
    expect(rows).toHaveLength(5);
    expect(of('org:a', 'main')).toMatchObject({
      name: 'A',
      main: true,
      gate: 'error',
      values: { coverage: 0.5, bugs: 0 },
    });
    expect(of('org:a', 'feature/x')).toMatchObject({ main: false, gate: undefined, values: {}, gone: 6 });
    expect(of('org:b', '')).toMatchObject({ main: true, problem: 'no' });
    expect(of('only stored', 'develop')).toMatchObject({ main: true, values: { lines: 9 } });
  });

  test('filters by words, by branch, and by the main one', () => {
    const base = readList(new URLSearchParams());
    const keys = (state: typeof base) => filterRows(rows, state).map((one) => `${one.project} ${one.branch}`);
    expect(keys(base)).toEqual(['org:a main', 'org:b ', 'only stored develop']);
    expect(keys({ ...base, branch: '*', text: ' ORG:A ' })).toEqual(['org:a main', 'org:a feature/x']);
    expect(keys({ ...base, branch: 'topic/z' })).toEqual(['only stored topic/z']);
  });

  test('sorts, with what has no value last either way', () => {
    const main = rows.filter((one) => one.main);
    const order = (sort: Parameters<typeof sortRows>[1], down: boolean) =>
      sortRows(main, sort, down).map((one) => one.project);
    expect(order('name', false)).toEqual(['org:a', 'only stored', 'org:b']);
    expect(order('name', true)).toEqual(['org:b', 'only stored', 'org:a']);
    expect(order('lines', false)[0]).toBe('only stored');
    expect(order('lines', true)[0]).toBe('only stored');
    expect(order('gate', true)[0]).toBe('org:a');
  });

  test('its address comes back, and nonsense is not read', () => {
    const state = { text: 'a&b', branch: 'feature/x', gate: 'error', sort: 'coverage', down: true } as const;
    const address = writeList(state);
    expect(readList(new URLSearchParams(address.split('?')[1]))).toEqual(state);
    expect(writeList(readList(new URLSearchParams('sort=toString&gate=x')))).toBe('quality');
  });

  test('the main branch is the one that is told, else the usual one, and one that is gone is the last choice', () => {
    const branch = (name: string, main = false, gone?: number) => ({ name, main, gone });
    expect(mainBranch([branch('main'), branch('trunk', true)])).toBe('trunk');
    expect(mainBranch([branch('a'), branch('master')])).toBe('master');
    expect(mainBranch([branch('old', true, 1), branch('b')])).toBe('b');
    expect(mainBranch([branch('old', false, 1)])).toBe('old');
    expect(mainBranch([])).toBe('');
  });
});

describe('addresses of projects', () => {
  test.each(['org_a:b.c', 'a/b', 'x%2F?#&=+ y', '<img src=x>', 'ä', 'constructor', 'a.js'])(
    '“%s” comes back',
    (key) => {
      const url = new URL(`http://h/deep/${pathOf(key)}`);
      const path = url.pathname.slice('/deep/'.length);
      expect(route(path, url.searchParams)).toMatchObject({ page: 'project', project: key });
    },
  );

  test('a colon stays one, and what is no code is no project', () => {
    expect(pathOf('com.example:shop_api')).toBe('quality/com.example:shop_api');
    expect(route('quality/%', new URLSearchParams()).page).toBe('unknown');
    expect(route('quality/a/b', new URLSearchParams()).page).toBe('unknown');
    expect(route('quality/', new URLSearchParams())).toMatchObject({ page: 'quality', project: '' });
  });

  test('what a history shows stands in its address, and what is as usual does not', () => {
    const state = { branch: 'feature/a&b', metric: 'debt', range: { from: '2026-01-31 12:00', to: 'now' } };
    const link = historyLink('a:b', state);
    expect(readHistory(new URLSearchParams(link.split('?')[1]))).toEqual(state);
    expect(historyLink('a', readHistory(new URLSearchParams('metric=nothing')))).toBe('quality/a');
  });

  test('a chart leads to the same in Explore, with its events', () => {
    const chart = CHARTS.find((one) => one.key === 'severity');
    const link = chart ? chartLink(chart, 'a', 'b/c', { from: 'now-30d', to: 'now' }) : '';
    const state = readExplore(new URLSearchParams(link.split('?')[1]));
    expect(state.queries.map((query) => query.text)).toEqual(['sonar_issues{project="a",branch="b/c",severity!=""}']);
    expect(state).toMatchObject({ stacked: true, events: { project: 'a', branch: 'b/c' } });
  });
});

describe('a history', () => {
  test('ratings are letters', () => {
    expect([1, 2, 3, 4, 5].map(letterOf).join('')).toBe('ABCDE');
    expect([undefined, 0, 6, Number.NaN].map(letterOf).join('')).toBe('');
  });

  test('a figure is what is now, against the first of the range', () => {
    expect(figureOf([null, 2, 2, 5])).toEqual({ value: 5, change: 3 });
    expect(figureOf([null, 5])).toEqual({ value: 5, change: undefined });
    expect(figureOf([3, null])).toEqual({ value: undefined, change: undefined });
    expect(figureOf([])).toEqual({ value: undefined, change: undefined });
  });

  test.each([
    ['coverage', 0.8, 0.021, '+2.1 points', 'good'],
    ['coverage', 0.8, -0.021, '−2.1 points', 'bad'],
    ['bugs', 12, 3, '+3', 'bad'],
    ['lines', 5000, 1200, '+1,200', ''],
    ['debt', 7200, -3600, '−1 h', 'good'],
    ['security', 1, -2, 'was C', 'good'],
  ] as const)('%s that is %d after %d more reads %s', (key, value, change, text, kind) => {
    expect(changeText(key, { value, change })).toEqual({ text, kind });
  });

  test('no change is told where there is none', () => {
    expect(changeText('coverage', { value: 0.5, change: 0.0001 })).toBeUndefined();
    expect(changeText('bugs', { value: 5, change: 0 })).toBeUndefined();
    expect(changeText('bugs', { value: undefined, change: undefined })).toBeUndefined();
  });

  const states = grid([
    [{ __name__: 'sonar_quality_gate_status', status: 'ok' }, [null, 1, 1, 0, 0]],
    [{ __name__: 'sonar_quality_gate_status', status: 'error' }, [null, 0, 0, 1, 1]],
    [{ __name__: 'sonar_analysis_timestamp_seconds' }, [-5, 7, 7, 28, 28]],
    [{ __name__: 'sonar_bugs' }, [null, 4, 4, null, null]],
    [{ __name__: 'sonar_issues', severity: 'major' }, [1, 1, 1, 2, 2]],
    [{ __name__: 'sonar_issues', severity: 'minor' }, [null, null, null, null, null]],
  ]);

  test('the gate is a list of times in which it stayed', () => {
    expect(gateSpans(states)).toEqual([
      { gate: undefined, start: 0, end: 10 },
      { gate: 'ok', start: 10, end: 30 },
      { gate: 'error', start: 30, end: 40 },
    ]);
    expect(gateSpans(grid([[{ __name__: 'sonar_bugs' }, [1, 2]]]))).toEqual([]);
  });

  test('analyses are told with what they found and what happened then, and those before the range are not', () => {
    const version = event(28, 'VERSION', '2.0');
    const alone = event(33, 'OTHER', 'by hand');
    expect(analysesOf(states, [version, alone])).toEqual([
      { seconds: 33, gate: undefined, values: {}, events: [alone] },
      { seconds: 28, gate: 'error', values: { analysed: 28 }, events: [version] },
      { seconds: 7, gate: 'ok', values: { analysed: 7, bugs: 4 }, events: [] },
    ]);
  });

  test('a chart has the lines that have values', () => {
    const severity = CHARTS.find((chart) => chart.key === 'severity');
    const coverage = CHARTS.find((chart) => chart.key === 'coverage');
    expect(severity && chartGrid(severity, states)?.names).toEqual(['major']);
    expect(coverage && chartGrid(coverage, states)).toBeUndefined();
  });
});
