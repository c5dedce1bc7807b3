import { expect, test } from 'vitest';
import { sparkline } from './sparkline';

const BOX = { width: 104, height: 24 };

test('values rise upwards, from edge to edge', () => {
  const path = sparkline([0, 5, 10], BOX);
  expect(path.line).toBe('M2,22L52,12L102,2');
  expect(path.area).toBe('M2,24L2,22L52,12L102,2L102,24Z');
  expect(path.end).toEqual({ x: 102, y: 2 });
});

test('gaps stay gaps and lone points are seen', () => {
  expect(sparkline([1, null, 1], BOX).line).toBe('M2,12L2,12M102,12L102,12');
});

test('nothing is drawn of nothing, and numbers that are none are gaps', () => {
  expect(sparkline([], BOX)).toEqual({ line: '', area: '' });
  expect(sparkline([NaN, Infinity, null], BOX)).toEqual({ line: '', area: '' });
  expect(sparkline([-1.7e308, 1.7e308], BOX).line).toBe('M2,22L102,2');
});
