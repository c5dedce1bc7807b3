// What home shows: who sends, from where, and whether anybody does yet.

import type { Row } from './result';
import { quote } from './series';

/** A job as a line of the table. */
export interface Job {
  readonly name: string;
  readonly source: 'scraped' | 'pushed' | 'written';
  readonly up: number;
  readonly total: number;
  /** Seconds since the epoch; 0 where it is not known. */
  readonly seenAt: number;
  readonly series: number | undefined;
}

/** What an installation measures by itself, itself and its host, is no sign that somebody sends: selectors of all else. */
export function foreignSelectors(hostname: string): string[] {
  return [`{__name__!="",job!~"observatory|node"}`, `{__name__!="",job="node",instance!=${quote(hostname)}}`];
}

/** Joins what the queries of home found: by job the targets that are up, all targets, the last push, and series. */
export function joinJobs(
  names: readonly string[],
  up: readonly Row[],
  total: readonly Row[],
  pushed: readonly Row[],
  series: ReadonlyMap<string, number>,
): Job[] {
  const by = (rows: readonly Row[]): Map<string, number> =>
    new Map(rows.map((row) => [row.labels['job'] ?? '', row.value]));
  const [ups, totals, pushes] = [by(up), by(total), by(pushed)];
  return [...new Set([...names, ...totals.keys(), ...pushes.keys()])]
    .filter((name) => name !== '')
    .sort()
    .map((name) => ({
      name,
      source: totals.has(name) ? ('scraped' as const) : pushes.has(name) ? ('pushed' as const) : ('written' as const),
      up: ups.get(name) ?? 0,
      total: totals.get(name) ?? 0,
      seenAt: pushes.get(name) ?? 0,
      series: series.get(name),
    }));
}

/** Series by job, out of `seriesCountByLabelValuePair`. */
export function seriesByJob(pairs: readonly { readonly name: string; readonly value: number }[]): Map<string, number> {
  return new Map(
    pairs.flatMap(({ name, value }) => (name.startsWith('job=') ? [[name.slice(4), value] as const] : [])),
  );
}

/** Per second, from two readings of a counter; `undefined` where they do not tell. */
export function ratePerSecond(
  before: { at: number; value: number } | undefined,
  now: { at: number; value: number },
): number | undefined {
  if (!before || now.at <= before.at || now.value < before.value) return undefined;
  return ((now.value - before.value) * 1000) / (now.at - before.at);
}

/** What stands in place of a token on the screen. */
export const HIDDEN = '••••••••';

/** The commands with which a first sample comes in, for this server. `token` is there if one is needed: the one to send,
 * or an empty text where only a place for it can be shown. */
export function firstCommands(
  root: string,
  token?: string,
): { push: string; scrape: string; write: string; message: string } {
  const bearer = token
    ? `'Authorization: Bearer ${token.replaceAll("'", String.raw`'\''`)}'`
    : '"Authorization: Bearer $TOKEN"';
  const credentials = token ? `credentials: ${JSON.stringify(token)}` : 'credentials_file: /path/to/token';
  const header = token === undefined ? '' : ` -H ${bearer}`;
  const authorization = token === undefined ? '' : `\n    authorization:\n      ${credentials}`;
  return {
    push: `echo 'demo_jobs_done 42' | curl${header} --data-binary @- ${root}metrics/job/demo`,
    // As the server itself would ask for it.
    scrape: "scrape_configs:\n  - job_name: my-service\n    static_configs:\n      - targets: ['localhost:8080']",
    message: `curl${header} -H 'Content-Type: application/json' --data '{"kind": "METRICS_UPDATE", "payload": {"metrics": "demo_messages 1\\n"}}' ${root}api/v1/mailbox/send`,
    write: `remote_write:\n  - url: ${root}api/v1/write${authorization}`,
  };
}
