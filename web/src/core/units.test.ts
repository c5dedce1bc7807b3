import { describe, expect, test } from 'vitest';
import { formatBytes, formatCount, formatRatio, formatSeconds, formatShort, formatValue, guessUnit } from './units';

describe('numbers', () => {
  test.each([
    [0, '0'],
    [1, '1'],
    [1.5, '1.5'],
    [12.34, '12.3'],
    [999.96, '1k'],
    [1234, '1.23k'],
    [-1234567, '-1.23M'],
    [0.00421, '0.00421'],
    [0.5, '0.5'],
    [1.234e-9, '1.23e-9'],
    [1e22, '1e22'],
    [NaN, 'NaN'],
    [Infinity, '+Inf'],
    [-Infinity, '-Inf'],
  ])('%d is %s', (value, text) => expect(formatShort(value)).toBe(text));

  test('bytes count in 1024', () => {
    expect(formatBytes(0)).toBe('0 B');
    expect(formatBytes(1023.9)).toBe('1 KiB');
    expect(formatBytes(1536)).toBe('1.5 KiB');
    expect(formatBytes(-3 * 1024 ** 3)).toBe('-3 GiB');
    expect(formatBytes(0.25)).toBe('0.25 B');
  });

  test('seconds take the unit that fits, and a second one where it says more', () => {
    expect(formatSeconds(3.5e-7)).toBe('350 ns');
    expect(formatSeconds(0.00035)).toBe('350 µs');
    expect(formatSeconds(0.25)).toBe('250 ms');
    expect(formatSeconds(90)).toBe('1 min 30 s');
    expect(formatSeconds(3600)).toBe('1 h');
    expect(formatSeconds(7199.9)).toBe('2 h');
    expect(formatSeconds(90_000)).toBe('1 d 1 h');
    expect(formatSeconds(-5)).toBe('-5 s');
  });

  test('ratios, counts and rates', () => {
    expect(formatRatio(0.1234)).toBe('12.3 %');
    expect(formatCount(1234567)).toBe('1,234,567');
    expect(formatValue(2048, 'bytes/s')).toBe('2 KiB/s');
    expect(formatValue(0, 'date')).toBe('1970-01-01 00:00');
  });
});

test.each([
  ['node_memory_MemFree_bytes', 'bytes'],
  ['rate(node_network_receive_bytes_total[5m])', 'bytes/s'],
  ['sum by (le_bytes) (rate(http_requests_total{path="/x_bytes"}[5m]))', 'per second'],
  ['histogram_quantile(0.9, sum by (le) (rate(request_duration_seconds_bucket[5m])))', 'seconds'],
  ['rate(node_cpu_seconds_total[5m])', 'none'],
  ['push_time_seconds', 'date'],
  ['scrape_duration_seconds', 'seconds'],
  ['node_filesystem_avail_bytes / node_filesystem_size_bytes', 'ratio'],
  ['node_memory_MemFree_bytes / 1024', 'none'],
  ['count(node_memory_MemFree_bytes)', 'none'],
  ['up', 'none'],
  ['a_bytes + b_seconds', 'none'],
])('%s is probably %s', (query, unit) => expect(guessUnit(query)).toBe(unit));
