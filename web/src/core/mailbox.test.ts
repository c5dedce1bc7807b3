import { expect, test } from 'vitest';
import { addReading, rateOf, readMailbox, shownPayload, type Reading } from './mailbox';

const ANSWER = {
  queue: { waiting: 3, in_flight: 1, dead: 2, bytes: 4_096, bytes_max: 64_000_000, oldest_ms: 1_700_000_000_000 },
  counts: { taken: 9, handled: 5, retried: 4, dead: 2, duplicates: 1, refused_full: 7, expired: 0 },
  recent: [{ id: 'a', kind: 'K', sender: 's', outcome: 'retry', attempts: 2, at_ms: 5, reason: 'later' }],
  deadLetters: [
    { letter: '4', id: 'old', kind: 'K', dead_ms: 10, reason: 'no', payload_bytes: 7, attempts: 1 },
    { letter: '5', id: 'new', kind: 'K', dead_ms: 20, reason: 'no', payload_bytes: 7, attempts: 1 },
  ],
  redis: null,
};

test('an answer is read, the letters that died last first', () => {
  const read = readMailbox(ANSWER);
  expect([read.waiting, read.inFlight, read.dead, read.oldestMs]).toEqual([3, 1, 2, 1_700_000_000_000]);
  expect(read.counts).toEqual({
    taken: 9,
    handled: 5,
    retried: 4,
    dead: 2,
    duplicates: 1,
    refused: 7,
    expired: 0,
  });
  expect(read.letters.map((letter) => letter.id)).toEqual(['new', 'old']);
  expect(read.recent[0]?.outcome).toBe('retry');
  expect(read.redis).toBeUndefined();
});

test('dead letters of a stream count with those of the queue, where its server answers', () => {
  const streams = { inbox: { connected: true, lag: null, pending: 2, length: 9 } };
  const redis = { server: 'redis://h', streams, dead: 3, lost: 1, last_error: null };
  const read = readMailbox({ ...ANSWER, redis });
  expect(read.dead).toBe(5);
  expect(read.redis?.streams).toEqual([{ name: 'inbox', connected: true, lag: undefined, pending: 2, length: 9 }]);
  expect(readMailbox({ ...ANSWER, redis: { ...redis, dead: null } }).dead).toBe(2);
});

test.each([undefined, null, 3, 'x', {}, { queue: 5, recent: {}, deadLetters: 'x', redis: 'on' }])(
  'an answer of another shape is an empty mailbox: %s',
  (data) => {
    const read = readMailbox(data);
    expect([read.waiting, read.dead, read.letters, read.recent]).toEqual([0, 0, [], []]);
  },
);

test('a rate is one over the last minute, and begins anew with the server', () => {
  let readings: readonly Reading[] = [];
  for (let second = 0; second <= 120; second += 5)
    readings = addReading(readings, { atMs: second * 1000, taken: second * 2, handled: second });
  expect(readings[0]?.atMs).toBe(60_000);
  expect([rateOf(readings, 'taken'), rateOf(readings, 'handled')]).toEqual([2, 1]);
  const anew = addReading(readings, { atMs: 125_000, taken: 1, handled: 0 });
  expect(anew).toHaveLength(1);
  expect(rateOf(anew, 'taken')).toBeUndefined();
  expect(rateOf([], 'taken')).toBeUndefined();
});

test('a payload is set out in lines where it is JSON, shown as it is elsewhere, and never endless', () => {
  expect(shownPayload('{"a":[1]}')).toEqual({ text: '{\n  "a": [\n    1\n  ]\n}', isCut: false });
  expect(shownPayload('<b>{')).toEqual({ text: '<b>{', isCut: false });
  const long = shownPayload(JSON.stringify('x'.repeat(200_000)));
  expect([long.text.length, long.isCut]).toEqual([50_000, true]);
});
