import { expect, test } from 'vitest';
import { decodeGroups, deletePath, groupMatches, inOrderOf, knownUntil, mergeGroups } from './push';

const RAW = [
  {
    labels: { job: 'backup', instance: 'a/b' },
    last_push_successful: true,
    push_time_seconds: { type: 'GAUGE', metrics: [{ labels: {}, value: '1.7e+09' }] },
    push_failure_time_seconds: { type: 'GAUGE', metrics: [{ labels: {}, value: '0' }] },
    size_bytes: {
      time_stamp: '2026-01-31T12:00:00Z',
      type: 'GAUGE',
      help: '<b>size</b>',
      metrics: [{ labels: { instance: '', x: '1' }, value: '5' }],
    },
    took: { type: 'HISTOGRAM', metrics: [{ labels: {}, buckets: { '1': '1', '+Inf': '2' }, count: '2', sum: '3' }] },
  },
  { labels: { job: 'x' }, last_push_successful: false, push_time_seconds: { metrics: [{ value: '2e9' }] } },
];

test('groups come with what is in them, the newest first', () => {
  const [newest, group] = decodeGroups(RAW);
  expect(newest?.labels).toEqual({ job: 'x' });
  expect(newest?.ok).toBe(false);
  expect(group?.pushedMs).toBe(1.7e12);
  expect(group?.families.map((family) => [family.name, family.type, family.samples[0]?.text])).toEqual([
    ['size_bytes', 'gauge', '5'],
    ['took', 'histogram', 'count 2, sum 3'],
  ]);
  expect(group?.families[0]?.samples[0]?.labels).toEqual({ x: '1' });
  expect(group?.series).toBe(5);
});

test('every group has a path, whatever its labels hold', () => {
  expect(deletePath({ job: 'a b', instance: 'x' })).toBe('metrics/job/a%20b/instance/x');
  expect(deletePath({ job: 'a/b' })).toBe('metrics/job@base64/YS9i');
  expect(deletePath({ job: 'j', e: '' })).toBe('metrics/job/j/e@base64/=');
  expect(deletePath({ job: '..', z: 'ü/?' })).toBe('metrics/job@base64/Li4=/z@base64/w7wvPw==');
  expect(deletePath({ job: '<script>' })).toBe('metrics/job/%3Cscript%3E');
});

test('groups are found by words', () => {
  const group = decodeGroups(RAW)[1];
  expect(group && groupMatches(group, 'job=backup SIZE')).toBe(true);
  expect(group && groupMatches(group, 'backup none')).toBe(false);
});

test('a group that was not pushed to since is the same object', () => {
  const before = decodeGroups(RAW);
  const pushed = { ...RAW[1], push_time_seconds: { metrics: [{ value: '2000000001' }] } };
  const after = decodeGroups([RAW[0] ?? {}, pushed], before);
  expect(after[1]).toBe(before[1]);
  expect(after[0]).not.toBe(before[0]);
  expect(after[0]?.pushedMs).toBe(2_000_000_001_000);
});

const raw = (job: string, seconds: number): Record<string, unknown> => ({
  labels: { job },
  push_time_seconds: { metrics: [{ value: String(seconds) }] },
});
const jobs = (groups: readonly { labels: Readonly<Record<string, string>> }[]): (string | undefined)[] =>
  groups.map((group) => group.labels['job']);

test('what was pushed to since changes in its place, and new groups come first', () => {
  const before = decodeGroups([raw('a', 3000), raw('b', 2000), raw('c', 1000)]);
  const after = mergeGroups([raw('c', 4000), raw('d', 4001), raw('e', 4002)], before);
  expect(jobs(after)).toEqual(['e', 'd', 'a', 'b', 'c']);
  expect(after[2]).toBe(before[0]);
  expect(after[4]?.pushedMs).toBe(4_000_000);
});

test('an answer without news changes nothing at all', () => {
  const before = decodeGroups([raw('a', 3000), raw('b', 2000)]);
  expect(mergeGroups([raw('a', 3000)], before)).toBe(before);
  expect(mergeGroups([], before)).toBe(before);
});

test('a whole list keeps the order that was shown, without those that are gone', () => {
  const before = decodeGroups([raw('a', 3000), raw('b', 2000), raw('c', 1000)]);
  const all = decodeGroups([raw('c', 9000), raw('d', 8000), raw('a', 3000)], before);
  expect(jobs(all)).toEqual(['c', 'd', 'a']);
  expect(jobs(inOrderOf(before, all))).toEqual(['d', 'a', 'c']);
});

test('a push that began before the newest one is still asked for', () => {
  expect(knownUntil([])).toBe(0);
  const newest = decodeGroups([raw('a', 3000), raw('b', 5000)]);
  expect(knownUntil(newest)).toBeLessThan(5_000_000);
  expect(knownUntil(newest)).toBeGreaterThan(4_900_000);
});
