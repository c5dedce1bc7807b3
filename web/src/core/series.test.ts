import { expect, test } from 'vitest';
import { colorSlots, commonLabels, legendNames, selector } from './series';

test('selectors can be pasted back into a query, whatever the labels hold', () => {
  expect(selector({ __name__: 'up', job: 'a', instance: 'b' })).toBe('up{instance="b", job="a"}');
  expect(selector({ __name__: 'up' })).toBe('up');
  expect(selector({})).toBe('{}');
  expect(selector({ __name__: 'http.requests', 'a-b': 'x"\\\n' })).toBe('{"http.requests", "a-b"="x\\"\\\\\\n"}');
});

test('a legend shows what differs', () => {
  expect(legendNames([{ __name__: 'up', job: 'a' }])).toEqual(['up{job="a"}']);
  expect(
    legendNames([
      { job: 'a', x: '1' },
      { job: 'a', x: '2' },
    ]),
  ).toEqual(['1', '2']);
  expect(
    legendNames([
      { job: 'a', x: '1', y: '' },
      { job: 'b', x: '2', y: '' },
    ]),
  ).toEqual(['{job="a", x="1"}', '{job="b", x="2"}']);
  expect(
    legendNames([
      { __name__: 'a', job: 'j' },
      { __name__: 'b', job: 'j' },
    ]),
  ).toEqual(['a', 'b']);
  expect(legendNames([{}])).toEqual(['value']);
  expect(legendNames([{ x: '1' }, {}])).toEqual(['1', 'value']);
  expect(commonLabels([])).toEqual({});
});

test('a series keeps its colour when the answer comes in another order', () => {
  const all = Array.from({ length: 20 }, (_, index) => ({ i: String(index) }));
  const slots = colorSlots(all);
  const turned = colorSlots([...all].reverse()).reverse();
  expect(turned).toEqual(slots);
  expect(new Set(slots).size).toBe(20);
  expect(Math.max(...slots)).toBeLessThan(24);
  expect(colorSlots(all.slice(0, 3))).toEqual([0, 1, 2]);
});
