// Questions to the mailbox, and what is done with its dead letters.

import { count, record, words } from '../core/json';
import { readMailbox, type MailboxState } from '../core/mailbox';
import { ask } from './client';

/** Dead letters that are listed; the command line lists more. */
const LETTERS_MAX = 500;

export async function mailbox(signal: AbortSignal): Promise<MailboxState> {
  return readMailbox((await ask<unknown>('mailbox', { limit: LETTERS_MAX }, { signal })).data);
}

/** What a dead letter holds, as it came. */
export async function payloadOf(letter: string, signal: AbortSignal): Promise<string> {
  const { data } = await ask<unknown>(`mailbox/dead/${encodeURIComponent(letter)}`, {}, { signal });
  return words(record(data)['payload']);
}

/** Replays or drops one letter, or all of them. Gives how many it were. */
export async function dispose(what: 'replay' | 'drop', letter: string | undefined): Promise<number> {
  const which = letter === undefined ? { all: 'true' } : { letter };
  const { data } = await ask<unknown>(`mailbox/${what}`, which, { method: 'POST' });
  return count(record(data)[what === 'replay' ? 'replayed' : 'dropped']);
}
