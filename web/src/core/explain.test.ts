import { expect, test } from 'vitest';
import { bucketsRead, figures, flatten, type PlanNode } from './explain';
import { formatTime } from './time';

const node = (text: string, children: readonly PlanNode[] = []): PlanNode => ({
  type: 'call',
  text,
  seriesMatched: null,
  samplesRead: null,
  memoryPartitions: null,
  blocks: null,
  tiers: [],
  series: 1,
  points: 2,
  milliseconds: 0.5,
  once: false,
  children,
});

test('a tree becomes rows, parents first', () => {
  const rows = flatten(node('a', [node('b', [node('c')]), node('d')]));
  expect(rows.map((row) => `${row.depth}${row.node.text}`)).toEqual(['0a', '1b', '2c', '1d']);
});

test('buckets are told with their size and how they answer', () => {
  const tier = { resolution: '1h', start: 0, end: 7200, fidelity: 'exact' } as const;
  expect(bucketsRead({ ...node('a'), tiers: [tier] })).toEqual([
    `buckets of 1h, exact, ${formatTime(0)} to ${formatTime(7_200_000)}`,
  ]);
});

test('the whole fits a line', () => {
  const explained = {
    plan: node('a'),
    answer: { series: 1, points: 1 },
    reasons: [],
    totals: { samplesRead: 20, totalMilliseconds: 1.25, bytesPeak: 0 },
  };
  expect(figures(explained)).toBe('1 series, 1 point; 20 samples read in 1.3 ms.');
});
