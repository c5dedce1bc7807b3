import { expect, test } from 'vitest';
import { decodeGroups, deletePath, groupMatches } from './push';

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
