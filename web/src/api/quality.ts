// Questions about code quality: how the sync does, and what happened.

import type { EventFilter } from '../core/explore';
import { NOT_CONFIGURED, readEvents, readStatus, type QualityEvent, type SyncStatus } from '../core/quality';
import { ask, Problem } from './client';

export async function syncStatus(signal: AbortSignal): Promise<SyncStatus> {
  try {
    return readStatus((await ask<unknown>('sonar/status', {}, { signal })).data);
  } catch (cause) {
    // A server without the sync has the series of others at most.
    if (cause instanceof Problem && cause.status === 404) return NOT_CONFIGURED;
    throw cause;
  }
}

/** The events of a time, in seconds, newest first. */
export async function qualityEvents(
  filter: EventFilter,
  start: number,
  end: number,
  signal: AbortSignal,
): Promise<QualityEvent[]> {
  const params = {
    project: filter.project || undefined,
    branch: filter.branch || undefined,
    start: start.toFixed(3),
    end: end.toFixed(3),
  };
  return readEvents((await ask<unknown>('sonar/events', params, { signal })).data);
}
