import { expect, test } from 'vitest';
import { EventParser } from './events';

test('events come out whole, however the stream is cut', () => {
  const text = 'event: job\ndata: {"a":1}\n\n: beat\n\nevent: store\r\ndata: 1\r\ndata: 2\r\n\r\ndata\n\n';
  const expected = [
    { name: 'job', data: '{"a":1}' },
    { name: 'store', data: '1\n2' },
    { name: 'message', data: '' },
  ];
  expect(new EventParser().push(text)).toEqual(expected);
  const parser = new EventParser();
  expect([...text].flatMap((character) => parser.push(character))).toEqual(expected);
});

test('a line without an end is not kept for ever', () => {
  const parser = new EventParser();
  parser.push('x'.repeat(2 << 20));
  expect(parser.push('\ndata: 1\n\n')).toEqual([{ name: 'message', data: '1' }]);
});
