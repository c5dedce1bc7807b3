import { describe, expect, test } from 'vitest';
import { decodeGrid, decodeRows, offsetOf, parseProblem, parseValue, type RawResult } from './result';

test('values are read as Go writes them', () => {
  expect(parseValue('+Inf')).toBe(Infinity);
  expect(parseValue('-Inf')).toBe(-Infinity);
  expect(parseValue('NaN')).toBeNaN();
  expect(parseValue('1e-07')).toBe(1e-7);
  expect(parseValue('-0')).toBe(-0);
  expect(parseValue('')).toBeNaN();
});

describe('rows', () => {
  test('keep the text of the server and whatever the labels say', () => {
    const hostile = '<img src=x onerror=alert(1)>';
    const data: RawResult = { resultType: 'vector', result: [{ metric: { job: hostile }, value: [1.5, '0.10'] }] };
    expect(decodeRows(data)).toEqual([{ labels: { job: hostile }, seconds: 1.5, text: '0.10', value: 0.1 }]);
  });

  test('a scalar and a string are one row', () => {
    expect(decodeRows({ resultType: 'scalar', result: [1, '2'] })).toEqual([
      { labels: {}, seconds: 1, text: '2', value: 2 },
    ]);
    expect(decodeRows({ resultType: 'string', result: [1, 'hi'] })[0]?.text).toBe('hi');
  });

  test('a range vector has a row for each sample, a histogram says count and sum', () => {
    const data: RawResult = {
      resultType: 'matrix',
      result: [
        {
          metric: {},
          values: [
            [1, '1'],
            [2, '2'],
          ],
        },
        { metric: { a: 'b' }, histograms: [[3, { count: '4', sum: '5.5' }]] },
      ],
    };
    expect(decodeRows(data).map((row) => row.text)).toEqual(['1', '2', 'count 4, sum 5.5']);
  });
});

describe('grids', () => {
  test('samples fall on their place, and where there is none there is a gap', () => {
    const data: RawResult = {
      resultType: 'matrix',
      result: [
        {
          metric: { a: '1' },
          values: [
            [100.5, '1'],
            [120.5, 'NaN'],
          ],
        },
      ],
    };
    const grid = decodeGrid(data, 100.5, 130.5, 10);
    expect([...grid.times]).toEqual([100.5, 110.5, 120.5, 130.5]);
    expect(grid.series[0]?.values).toEqual([1, null, NaN, null]);
  });

  test('samples outside the range are left out, native histograms are counted', () => {
    const data: RawResult = {
      resultType: 'matrix',
      result: [
        {
          values: [
            [0, '1'],
            [1e9, '2'],
          ],
        },
        { histograms: [[5, { count: '1', sum: '1' }]] },
      ],
    };
    const grid = decodeGrid(data, 5, 10, 5);
    expect(grid.series[0]?.values).toEqual([null, null]);
    expect(grid.histograms).toBe(1);
  });

  test('a step that is no binary fraction reaches the end', () => {
    expect(decodeGrid({ resultType: 'matrix', result: [] }, 0, 0.3, 0.1).times.length).toBe(4);
  });
});

test('the position of an error is found in its text', () => {
  expect(parseProblem('invalid parameter "query": 1:4: parse error: unclosed left parenthesis')).toEqual({
    text: 'unclosed left parenthesis',
    position: { line: 1, column: 4 },
  });
  expect(parseProblem('query timed out')).toEqual({ text: 'query timed out' });
  expect(offsetOf('up +\nüp)', { line: 2, column: 4 })).toBe(7);
  expect(offsetOf('up', { line: 9, column: 9 })).toBe(2);
});
