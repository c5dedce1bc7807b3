// The mailbox as `api/v1/mailbox` tells it: what waits, what became of the last messages, and what nobody could handle.

import { count, list, record, words } from './json';

/** A message that could not be handled; times in milliseconds. */
export interface DeadLetter {
  /** What it is called by, in the queue or in the stream. */
  readonly letter: string;
  readonly id: string;
  readonly kind: string;
  readonly sender: string;
  readonly recipient: string;
  readonly createdMs: number;
  readonly deadMs: number;
  readonly attempts: number;
  readonly reason: string;
  readonly bytes: number;
}

export type Outcome = 'handled' | 'retry' | 'dead';

/** What became of one message. */
export interface Recent {
  readonly id: string;
  readonly kind: string;
  readonly sender: string;
  readonly outcome: Outcome;
  readonly attempts: number;
  readonly atMs: number;
  readonly reason: string;
}

/** A stream of Redis that is read. */
export interface Stream {
  readonly name: string;
  readonly connected: boolean;
  /** Not read yet; `undefined` where the server does not tell. */
  readonly lag: number | undefined;
  readonly pending: number;
  readonly length: number;
}

export interface Redis {
  readonly server: string;
  readonly streams: readonly Stream[];
  /** `undefined` while the server does not answer. */
  readonly dead: number | undefined;
  readonly lost: number;
  readonly problem: string;
}

export interface MailboxState {
  /** Messages that wait or are in flight. */
  readonly waiting: number;
  readonly inFlight: number;
  /** Of both mailboxes. */
  readonly dead: number;
  readonly bytes: number;
  readonly bytesMax: number;
  /** When the oldest that waits was taken; `undefined` where none does. */
  readonly oldestMs: number | undefined;
  /** Since the start. */
  readonly counts: Readonly<
    Record<'taken' | 'handled' | 'retried' | 'dead' | 'duplicates' | 'refused' | 'expired', number>
  >;
  readonly recent: readonly Recent[];
  /** The newest; there may be more than these. */
  readonly letters: readonly DeadLetter[];
  readonly redis: Redis | undefined;
}

/** Reads the answer of `api/v1/mailbox`. */
export function readMailbox(data: unknown): MailboxState {
  const all = record(data);
  const [queue, counts] = [record(all['queue']), record(all['counts'])];
  const redis = all['redis'] ? readRedis(all['redis']) : undefined;
  return {
    waiting: count(queue['waiting']),
    inFlight: count(queue['in_flight']),
    dead: count(queue['dead']) + (redis?.dead ?? 0),
    bytes: count(queue['bytes']),
    bytesMax: count(queue['bytes_max']),
    oldestMs: count(queue['oldest_ms']) || undefined,
    counts: {
      taken: count(counts['taken']),
      handled: count(counts['handled']),
      retried: count(counts['retried']),
      dead: count(counts['dead']),
      duplicates: count(counts['duplicates']),
      refused: count(counts['refused_full']),
      expired: count(counts['expired']),
    },
    recent: list(all['recent']).map(readRecent),
    letters: list(all['deadLetters'])
      .map(readLetter)
      .sort((a, b) => b.deadMs - a.deadMs),
    redis,
  };
}

function readRecent(value: unknown): Recent {
  const one = record(value);
  const outcome = words(one['outcome']);
  return {
    id: words(one['id']),
    kind: words(one['kind']),
    sender: words(one['sender']),
    outcome: outcome === 'dead' || outcome === 'retry' ? outcome : 'handled',
    attempts: count(one['attempts']),
    atMs: count(one['at_ms']),
    reason: words(one['reason']),
  };
}

function readLetter(value: unknown): DeadLetter {
  const one = record(value);
  return {
    letter: words(one['letter']),
    id: words(one['id']),
    kind: words(one['kind']),
    sender: words(one['sender']),
    recipient: words(one['recipient']),
    createdMs: count(one['created_ms']),
    deadMs: count(one['dead_ms']),
    attempts: count(one['attempts']),
    reason: words(one['reason']),
    bytes: count(one['payload_bytes']),
  };
}

function readRedis(value: unknown): Redis {
  const one = record(value);
  return {
    server: words(one['server']),
    streams: Object.entries(record(one['streams'])).map(([name, found]) => {
      const stream = record(found);
      return {
        name,
        connected: stream['connected'] === true,
        lag: typeof stream['lag'] === 'number' ? stream['lag'] : undefined,
        pending: count(stream['pending']),
        length: count(stream['length']),
      };
    }),
    dead: typeof one['dead'] === 'number' ? one['dead'] : undefined,
    lost: count(one['lost']),
    problem: words(one['last_error']),
  };
}

/** What was counted at some time, by the clock of the page. */
export interface Reading {
  readonly atMs: number;
  readonly taken: number;
  readonly handled: number;
}

/** Messages come by the handful: a rate over less than this jumps. */
const RATE_MS = 60_000;

/** The readings of the last minute with one more, the oldest first. */
export function addReading(readings: readonly Reading[], next: Reading): readonly Reading[] {
  const last = readings.at(-1);
  // The server was started anew, and counts from nothing.
  if (last && (next.taken < last.taken || next.handled < last.handled)) return [next];
  const recent = readings.filter((reading) => next.atMs - reading.atMs <= RATE_MS);
  return [...recent, next];
}

/** Messages a second over the readings; `undefined` where they do not tell. */
export function rateOf(readings: readonly Reading[], what: 'taken' | 'handled'): number | undefined {
  const [first, last] = [readings[0], readings.at(-1)];
  if (!first || !last || last.atMs <= first.atMs) return undefined;
  return ((last[what] - first[what]) * 1000) / (last.atMs - first.atMs);
}

/** More than anybody reads; a megabyte of text is slow to lay out. */
const PAYLOAD_SHOWN_MAX = 50_000;

/** A payload for people: JSON is set out in lines; `isCut` where the rest of it is left out. */
export function shownPayload(payload: string): { readonly text: string; readonly isCut: boolean } {
  let text = payload;
  try {
    // What is long anyway is not made longer.
    if (payload.length <= PAYLOAD_SHOWN_MAX) text = JSON.stringify(JSON.parse(payload), null, 2);
  } catch {
    // No JSON: it is shown as it came.
  }
  return { text: text.slice(0, PAYLOAD_SHOWN_MAX), isCut: text.length > PAYLOAD_SHOWN_MAX };
}
