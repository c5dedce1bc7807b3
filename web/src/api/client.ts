// Questions to the server: addresses, token, envelope, errors.

import { parseProblem, type Position, type RawResult } from '../core/result';
import { base } from '../router.svelte';
import { session } from './session.svelte';

/** An answer with what the server noted about it. */
export interface Answer<T> {
  readonly data: T;
  readonly notes: readonly string[];
}

/** Why there is no answer, as the server says it. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly kind: string,
    readonly status: number,
    readonly position?: Position,
  ) {
    super(message);
  }
}

export type Params = Readonly<Record<string, string | number | readonly string[] | undefined>>;

interface Envelope {
  readonly status?: string;
  readonly data?: unknown;
  readonly error?: string;
  readonly errorType?: string;
  readonly warnings?: readonly string[];
  readonly infos?: readonly string[];
}

/** The address of a path of the server. */
export function address(path: string): string {
  return new URL(path, base).href;
}

/** `fetch` below the page's base, with the token; asks for one where it is missing. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const token = session.token;
    const headers = new Headers(init.headers);
    // Tells the server not to let the browser ask for a password: this page asks itself.
    headers.set('X-Requested-With', 'observatory');
    if (token !== '') headers.set('Authorization', `Bearer ${token}`);
    let response: Response;
    try {
      response = await fetch(address(path), { ...init, headers, cache: 'no-store' });
    } catch (cause) {
      if (init.signal?.aborted) throw cause;
      throw new Problem('The server cannot be reached. This page tries again by itself.', 'network', 0);
    }
    if (response.status !== 401) return response;
    await session.ask(token, token === '' ? 'This server wants a token.' : 'The server does not know this token.');
    init.signal?.throwIfAborted();
  }
}

/** Asks the API and takes its envelope off. */
export async function ask<T>(path: string, params: Params = {}, init: RequestInit = {}): Promise<Answer<T>> {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === undefined) continue;
    for (const one of typeof value === 'object' ? value : [value]) form.append(name, String(one));
  }
  const query = init.method === 'POST' ? '' : form.size > 0 ? `?${form}` : '';
  const response = await send(`api/v1/${path}${query}`, init.method === 'POST' ? { ...init, body: form } : init);
  return unwrap<T>(response);
}

async function unwrap<T>(response: Response): Promise<Answer<T>> {
  const text = await response.text();
  let envelope: Envelope;
  try {
    envelope = text === '' ? {} : (JSON.parse(text) as Envelope);
  } catch {
    const starting =
      response.status === 503
        ? 'The server is starting or stopping.'
        : `The server answered ${response.status}: ${text.slice(0, 200)}`;
    throw new Problem(starting, 'unavailable', response.status);
  }
  if (!response.ok || envelope.status === 'error') {
    const problem = parseProblem(envelope.error ?? `The server answered ${response.status}.`);
    throw new Problem(problem.text, envelope.errorType ?? 'unavailable', response.status, problem.position);
  }
  return { data: envelope.data as T, notes: [...(envelope.warnings ?? []), ...(envelope.infos ?? [])] };
}

/** An instant query at `time`, in seconds; now where it is not given. */
export function instant(query: string, time?: number, signal?: AbortSignal): Promise<Answer<RawResult>> {
  return ask('query', { query, time }, { method: 'POST', ...(signal ? { signal } : {}) });
}

/** A range query, all times in seconds. */
export function range(
  query: string,
  start: number,
  end: number,
  step: number,
  signal?: AbortSignal,
): Promise<Answer<RawResult>> {
  return ask('query_range', { query, start, end, step }, { method: 'POST', ...(signal ? { signal } : {}) });
}

/** What went wrong, in words for a person. */
export function explain(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
