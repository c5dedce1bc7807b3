import { describe, expect, test } from 'vitest';
import {
  absoluteRange,
  axisLabels,
  describeRange,
  formatAgo,
  formatDuration,
  niceStep,
  parseDuration,
  parseTime,
  resolveRange,
  shiftSpan,
  stepFor,
  zoomOut,
} from './time';

const NOW = Date.parse('2026-01-31T12:00:00Z');
const HOUR = 3_600_000;

describe('points in time', () => {
  test.each([
    ['now', NOW],
    ['now-1h', NOW - HOUR],
    ['now - 1h30m', NOW - 1.5 * HOUR],
    ['now-1d+6h', NOW - 18 * HOUR],
    ['2026-01-31T12:00:00Z', NOW],
    ['2026-01-31 13:00', NOW],
    ['2026-01-31 9:05', NOW - 4 * HOUR + 5 * 60_000],
    ['2026-01-31', NOW - 13 * HOUR],
    ['2026-01-31 12:00 UTC', NOW],
    ['1769860800', NOW],
    ['1769860800000', NOW],
    ['1769860800.5', NOW + 500],
  ])('%s', (text, ms) => expect(parseTime(text, NOW)).toBe(ms));

  test.each(['', 'yesterday', 'now-', 'now-1', 'now-1x', '2026-13-01', '2026-01-31 25:00', 'nowish', '12:00'])(
    '“%s” is none',
    (text) => expect(parseTime(text, NOW)).toBeUndefined(),
  );
});

test('durations are read and written as in PromQL', () => {
  expect(parseDuration('1h30m')).toBe(1.5 * HOUR);
  expect(parseDuration('250ms')).toBe(250);
  expect(parseDuration('5')).toBeUndefined();
  expect(parseDuration('5m x')).toBeUndefined();
  expect(formatDuration(1.5 * HOUR)).toBe('1h30m');
  expect(formatDuration(8 * 24 * HOUR)).toBe('1w1d');
});

test('a range says why it is none', () => {
  expect(resolveRange({ from: 'now-1h', to: 'now' }, NOW)).toEqual({ start: NOW - HOUR, end: NOW });
  expect(resolveRange({ from: 'soon', to: 'now' }, NOW)).toContain('“soon” is no time');
  expect(resolveRange({ from: 'now', to: 'now-1h' }, NOW)).toContain('ends before');
});

test('ranges are described shortly', () => {
  expect(describeRange({ from: 'now-1h', to: 'now' })).toBe('Last 1 hour');
  expect(describeRange({ from: 'now-7m', to: 'now' })).toBe('now-7m to now');
  expect(describeRange(absoluteRange({ start: NOW, end: NOW + 90_000 }))).toBe(
    '2026-01-31 13:00 – 2026-01-31 13:01:30',
  );
});

test('ranges move and widen, never into the future', () => {
  const span = { start: NOW - HOUR, end: NOW };
  expect(shiftSpan(span, -0.5)).toEqual(absoluteRange({ start: NOW - 1.5 * HOUR, end: NOW - 0.5 * HOUR }));
  expect(zoomOut(span, NOW)).toEqual(absoluteRange({ start: NOW - 2 * HOUR, end: NOW }));
});

test('steps are round, and never more points than the server answers', () => {
  expect(niceStep({ start: NOW - HOUR, end: NOW }, 1000)).toBe(10);
  expect(niceStep({ start: NOW - 24 * HOUR, end: NOW }, 1200)).toBe(300);
  expect(stepFor({ start: NOW - HOUR, end: NOW }, 1000, '1m')).toBe(60);
  expect(stepFor({ start: NOW - HOUR, end: NOW }, 1000, 'x')).toBe(10);
  expect((240 * 3600) / stepFor({ start: NOW - 240 * HOUR, end: NOW }, 1000, '1s')).toBeLessThanOrEqual(11_000);
});

test('how long ago', () => {
  expect(formatAgo(NOW - 500, NOW)).toBe('now');
  expect(formatAgo(NOW - 5000, NOW)).toBe('5 s ago');
  expect(formatAgo(NOW - 90_000, NOW)).toBe('1 min ago');
  expect(formatAgo(NOW - 30 * HOUR, NOW)).toBe('30 h ago');
  expect(formatAgo(NOW - 72 * HOUR, NOW)).toBe('3 d ago');
  expect(formatAgo(NOW + 2 * HOUR, NOW)).toBe('in 2 h');
});

test('the axis shows the date where the day changes', () => {
  const start = Date.parse('2026-01-31T22:00:00Z') / 1000;
  expect(axisLabels([start, start + 3600, start + 7200], 3600)).toEqual(['23:00', '02-01', '01:00']);
  expect(axisLabels([start, start + 10], 10)).toEqual(['23:00:00', '23:00:10']);
  expect(axisLabels([start + 3600, start + 90_000], 86_400)).toEqual(['02-01', '02-02']);
});
