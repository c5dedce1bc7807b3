import { describe, expect, test } from 'vitest';
import { exploreLink, readExplore, writeExplore, type ExploreState } from './explore';
import { moved, route } from './routes';

describe('old addresses', () => {
  test.each([
    ['graph', 'g0.expr=up&g0.tab=0&g0.range_input=2h', 'explore?q=up&from=now-2h&to=now'],
    ['/graph/', 'g0.expr=up&g0.tab=1', 'explore?q=up&view=table'],
    ['query', 'g0.expr=rate(a%5B5m%5D)&g0.tab=graph&g1.expr=b', 'explore?q=rate%28a%5B5m%5D%29&q=b'],
    [
      'graph',
      'g0.expr=up&g0.tab=0&g0.range_input=1h&g0.end_input=2026-01-31T12:00:00Z&g0.step_input=30&g0.stacked=1',
      'explore?q=up&from=1769857200000&to=1769860800000&step=30s&stacked=1',
    ],
    ['graph', '', 'explore'],
    ['classic/graph', 'g0.expr=up&g0.tab=0', 'explore?q=up'],
    ['classic/targets', '', 'targets'],
    ['config', '', 'status?tab=config'],
    ['flags', '', 'status?tab=flags'],
    ['tsdb-status', '', 'explore/metrics?tab=cardinality'],
    ['service-discovery', '', 'targets'],
    ['rules', '', 'alerts'],
    ['classic/alerts', '', 'alerts'],
    ['new/rules', 'search=a', 'alerts'],
    ['alertmanager-discovery', '', 'alerts'],
  ])('%s?%s leads to %s', (path, query, target) => expect(moved(path, new URLSearchParams(query))).toBe(target));

  test.each(['', 'targets', 'alerts', 'status', 'explore', 'constructor', 'nothing'])(
    '“%s” is not an old one',
    (path) => expect(moved(path, new URLSearchParams())).toBeUndefined(),
  );
});

test('paths have their page', () => {
  const none = new URLSearchParams();
  expect(route('/', none).page).toBe('home');
  expect(route('explore/metrics/', none).page).toBe('metrics');
  expect(route('mailbox', none).page).toBe('mailbox');
  expect(route('nothing', none).page).toBe('unknown');
  expect(route('toString', none).page).toBe('unknown');
});

describe('Explore in the address', () => {
  test('everything comes back as it was', () => {
    const state: ExploreState = {
      queries: [
        { text: 'up{a="ü&=+ #"}', off: false },
        { text: 'rate(b[5m])', off: true },
      ],
      range: { from: '2026-01-31 12:00', to: 'now-5m' },
      view: 'table',
      step: '30s',
      stacked: true,
      refresh: 15,
      events: { project: 'org:a&b', branch: 'feature/x' },
    };
    expect(readExplore(new URLSearchParams(writeExplore(state).toString()))).toEqual(state);
  });

  test('what is as usual is not written, and nonsense is not read', () => {
    const state = readExplore(new URLSearchParams('view=x&step=soon&refresh=-1&off=a,b'));
    expect(state.step).toBeUndefined();
    expect(writeExplore(state).toString()).toBe('');
    expect(exploreLink('up')).toBe('explore?q=up');
  });
});
