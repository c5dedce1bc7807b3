// Long work of the server: what there is of it, and how it is ended.

import { ask, Problem, send } from './client';
import { live, type Job } from './live.svelte';

export type { Job } from './live.svelte';

export async function jobList(signal: AbortSignal): Promise<readonly Job[]> {
  return (await ask<{ jobs: Job[] }>('jobs', {}, { signal })).data.jobs;
}

/** The list with what changed since it was asked for, the newest first. */
export function withChanges(list: readonly Job[]): Job[] {
  const all = new Map(list.map((job) => [job.id, job]));
  for (const [id, job] of live.jobs) if ((all.get(id)?.updated_ms ?? 0) <= job.updated_ms) all.set(id, job);
  return [...all.values()].sort((a, b) => b.id - a.id);
}

/** Asks a job to end, which takes it a while. */
export async function cancelJob(id: number): Promise<void> {
  const response = await send(`api/v1/jobs/${id}`, { method: 'DELETE' });
  if (!response.ok) throw new Problem((await response.text()).slice(0, 300), 'refused', response.status);
}
