import { expect, test } from 'vitest';
import type { Labels } from './result';
import { familyNames, firstQuery, summarizeLabels } from './catalog';

test('labels are told by how much they multiply', () => {
  const series: Labels[] = [
    { __name__: 'a', job: 'x', path: '/1' },
    { __name__: 'a', job: 'x', path: '/2' },
    { __name__: 'a', job: 'x', path: '/2', code: '200' },
  ];
  expect(summarizeLabels(series)).toEqual([
    {
      name: 'path',
      values: 2,
      top: [
        { value: '/2', series: 2 },
        { value: '/1', series: 1 },
      ],
    },
    { name: 'code', values: 1, top: [{ value: '200', series: 1 }] },
    { name: 'job', values: 1, top: [{ value: 'x', series: 3 }] },
  ]);
});

test.each([
  ['requests_total', 'counter', 'rate(requests_total[5m])'],
  ['took_bucket', 'histogram', 'histogram_quantile(0.95, sum by (le) (rate(took_bucket[5m])))'],
  ['took_count', 'histogram', 'rate(took_count[5m])'],
  ['up', 'gauge', 'up'],
  ['a.b', '', '{"a.b"}'],
  ['jobs_total', '', 'rate(jobs_total[5m])'],
])('the first question about %s', (name, type, query) => expect(firstQuery(name, type)).toBe(query));

test('a series finds the metadata of its family', () => {
  expect(familyNames('took_seconds_bucket')).toEqual(['took_seconds_bucket', 'took_seconds']);
  expect(familyNames('up')).toEqual(['up']);
});
