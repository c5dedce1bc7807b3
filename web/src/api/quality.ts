// Questions about code quality: how the sync does, and what happened.

import type { EventFilter } from '../core/explore';
import { NOT_CONFIGURED, readEvents, readStatus, type Happened, type SyncStatus } from '../core/quality';
import { ask, Problem } from './client';

export async function syncStatus(signal: AbortSignal): Promise<SyncStatus> {
  try {
    const [status, projects] = await Promise.all([
      ask<unknown>('sonar/status', {}, { signal }),
      ask<unknown>('sonar/projects', {}, { signal }),
    ]);
    return readStatus(status.data, projects.data);
  } catch (cause) {
    // A server without the sync has the series of others at most.
    if (cause instanceof Problem && cause.status === 404) return NOT_CONFIGURED;
    throw cause;
  }
}

/** The events of a time, in seconds. */
export async function qualityEvents(
  filter: EventFilter,
  start: number,
  end: number,
  signal: AbortSignal,
): Promise<Happened> {
  const params = {
    project: filter.project || undefined,
    branch: filter.branch || undefined,
    start: start.toFixed(3),
    end: end.toFixed(3),
  };
  return readEvents((await ask<unknown>('sonar/events', params, { signal })).data);
}

/** Begins a sync; one that is running goes on. What came in before is not asked for again. */
export async function startSync(): Promise<void> {
  await ask<unknown>('sonar/sync', {}, { method: 'POST' });
}
