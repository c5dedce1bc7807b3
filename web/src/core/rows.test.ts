import { expect, test } from 'vitest';
import { rowsWithin } from './rows';

const even = (count: number): number[] => Array.from({ length: count }, () => 30);

test('only rows that are seen are drawn, and the others keep their room', () => {
  expect(rowsWithin(even(500), 3_000, 3_600)).toEqual({ first: 99, last: 121, before: 2_970, after: 11_370 });
  expect(rowsWithin(even(500), -200, 90)).toEqual({ first: 0, last: 4, before: 0, after: 14_880 });
});

test('rows of other heights are counted as they are', () => {
  expect(rowsWithin([30, 400, 30, 30], 431, 440)).toEqual({ first: 2, last: 3, before: 430, after: 30 });
});

test('no row, and a view below the last one', () => {
  expect(rowsWithin([], 0, 900)).toEqual({ first: 0, last: 0, before: 0, after: 0 });
  expect(rowsWithin(even(3), 5_000, 6_000)).toEqual({ first: 3, last: 3, before: 90, after: 0 });
});

test('room and rows always add up to the whole list', () => {
  const heights = Array.from({ length: 97 }, (_, row) => 20 + (row % 7) * 11);
  const whole = heights.reduce((sum, height) => sum + height, 0);
  for (let top = -100; top < whole + 100; top += 37) {
    const { first, last, before, after } = rowsWithin(heights, top, top + 250);
    const drawn = heights.slice(first, last).reduce((sum, height) => sum + height, 0);
    expect(before + drawn + after).toBe(whole);
    expect(last - first).toBeLessThanOrEqual(15);
  }
});
