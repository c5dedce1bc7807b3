// Names for the completion, from the server: asked for when needed, a bounded number, kept a short while.

import type { PrometheusClient } from '@prometheus-io/codemirror-promql';
import { ask } from '../api/client';
import { METRIC_NAME, quote } from '../core/series';

/** More would make typing slow, and nobody reads on that long. */
const NAMES_MAX = 5_000;
const VALUES_MAX = 1_000;
const KEPT_MS = 30_000;

const kept = new Map<string, { readonly until: number; readonly value: Promise<unknown> }>();

function once<T>(key: string, load: () => Promise<T>, none: T): Promise<T> {
  const now = Date.now();
  const known = kept.get(key);
  if (known && known.until > now) return known.value as Promise<T>;
  // A completion that fails is no completion; the query itself says what is wrong.
  const value = load().catch(() => none);
  if (kept.size > 200) kept.clear();
  kept.set(key, { until: now + KEPT_MS, value });
  return value;
}

const values = (label: string, match: string | undefined, limit: number): Promise<string[]> =>
  once(
    `${label} ${match}`,
    async () =>
      (
        await ask<string[]>(`label/${encodeURIComponent(label)}/values`, {
          limit,
          ...(match ? { 'match[]': match } : {}),
        })
      ).data,
    [],
  );

const match = (metric: string | undefined): string | undefined =>
  metric ? `{${METRIC_NAME}=${quote(metric)}}` : undefined;

export const catalog: PrometheusClient = {
  labelNames: (metric) =>
    once(
      `names ${metric}`,
      async () => {
        const selector = match(metric);
        return (await ask<string[]>('labels', { limit: VALUES_MAX, ...(selector ? { 'match[]': selector } : {}) }))
          .data;
      },
      [],
    ),
  labelValues: (label, metric) => values(label, match(metric), VALUES_MAX),
  metricNames: (prefix) =>
    values(
      METRIC_NAME,
      prefix ? `{${METRIC_NAME}=~${quote(`.*${prefix.replace(/[^\w:]/g, '.')}.*`)}}` : undefined,
      NAMES_MAX,
    ),
  metricMetadata: () =>
    once(
      'metadata',
      async () =>
        (await ask<Record<string, { type: string; help: string; unit: string }[]>>('metadata', { limit: NAMES_MAX }))
          .data,
      {},
    ),
  series: (metric) =>
    once(
      `series ${metric}`,
      async () =>
        (await ask<Map<string, string>[]>('series', { 'match[]': match(metric) ?? '', limit: VALUES_MAX })).data,
      [],
    ),
  flags: () => once('flags', async () => (await ask<Record<string, string>>('status/flags')).data, {}),
};
