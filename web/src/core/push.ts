// Push groups as the Pushgateway's API lists them.

import { parseValue, type Labels } from './result';
import { labelPairs } from './series';

/** A metric family of a group. */
export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly pushedMs: number;
  readonly samples: readonly Sample[];
}

export interface Sample {
  readonly labels: Labels;
  /** As the server wrote it; for histograms and summaries their count and sum. */
  readonly text: string;
  /** How many series it is in the store. */
  readonly series: number;
}

export interface Group {
  /** Its path, which no other group has. */
  readonly path: string;
  readonly labels: Labels;
  readonly ok: boolean;
  readonly pushedMs: number;
  readonly failedMs: number;
  /** Without the two that say when it was pushed. */
  readonly families: readonly Family[];
  readonly series: number;
  /** Labels and names of metrics, in small letters: what a search looks through. */
  readonly words: string;
}

interface RawMetric {
  readonly labels?: Labels;
  readonly value?: string;
  readonly count?: string;
  readonly sum?: string;
  readonly quantiles?: Readonly<Record<string, string>>;
  readonly buckets?: Readonly<Record<string, string>> | readonly unknown[];
}

interface RawFamily {
  readonly time_stamp?: string;
  readonly type?: string;
  readonly help?: string;
  readonly metrics?: readonly RawMetric[];
}

const PUSHED = 'push_time_seconds';
const FAILED = 'push_failure_time_seconds';
/** A push has its time from its beginning, and is seen at its end. */
const LATE_MS = 2_000;

/** The groups, the last pushed first. One that was not pushed to since is the same object as in `before`: what shows it
 * then has nothing to do. */
export function decodeGroups(data: readonly Record<string, unknown>[], before: readonly Group[] = []): Group[] {
  const known = byPath(before);
  return data.map((raw) => decodeGroup(raw, known)).sort(lastFirst);
}

/** `before`, and what `data` says of them or of new ones. Nobody reads a list that jumps about: known ones stay where they
 * are, new ones come first. */
export function mergeGroups(data: readonly Record<string, unknown>[], before: readonly Group[]): readonly Group[] {
  const known = byPath(before);
  const found = byPath(data.map((raw) => decodeGroup(raw, known)));
  if ([...found.values()].every((group) => known.get(group.path) === group)) return before;
  const kept = before.map((group) => found.get(group.path) ?? group);
  return [...[...found.values()].filter((group) => !known.has(group.path)).sort(lastFirst), ...kept];
}

/** `found`, which is all there is, in the order of `before`; new ones come first. */
export function inOrderOf(before: readonly Group[], found: readonly Group[]): Group[] {
  const places = new Map(before.map((group, place) => [group.path, place]));
  return found.toSorted((a, b) => (places.get(a.path) ?? -1) - (places.get(b.path) ?? -1));
}

/** From when on groups have to be asked for, so that none of which `groups` does not know is missed. Milliseconds. */
export function knownUntil(groups: readonly Group[]): number {
  const newest = groups.reduce((most, group) => Math.max(most, group.pushedMs, group.failedMs), 0);
  return Math.max(0, newest - LATE_MS);
}

const byPath = (groups: readonly Group[]): Map<string, Group> => new Map(groups.map((group) => [group.path, group]));
const lastFirst = (a: Group, b: Group): number => b.pushedMs - a.pushedMs || (a.path < b.path ? -1 : 1);

function decodeGroup(raw: Record<string, unknown>, known: ReadonlyMap<string, Group>): Group {
  const labels = (raw['labels'] ?? {}) as Labels;
  const path = deletePath(labels);
  const pushedMs = timeOf(raw[PUSHED] as RawFamily | undefined);
  const failedMs = timeOf(raw[FAILED] as RawFamily | undefined);
  const old = known.get(path);
  // Every push, taken or refused, changes one of its times.
  if (old && pushedMs > 0 && old.pushedMs === pushedMs && old.failedMs === failedMs) return old;
  const families: Family[] = [];
  for (const [name, family] of Object.entries(raw)) {
    const known = name === 'labels' || name === 'last_push_successful' || name === PUSHED || name === FAILED;
    if (!known) families.push(decodeFamily(name, family as RawFamily));
  }
  families.sort((a, b) => (a.name < b.name ? -1 : 1));
  const series = families.flatMap((family) => family.samples).reduce((sum, sample) => sum + sample.series, 0);
  return {
    path,
    labels,
    ok: raw['last_push_successful'] !== false,
    pushedMs,
    failedMs,
    families,
    series,
    words: [
      ...Object.entries(labels).map(([name, value]) => `${name}=${value}`),
      ...families.map((family) => family.name),
    ]
      .join('\n')
      .toLowerCase(),
  };
}

function timeOf(family: RawFamily | undefined): number {
  const seconds = parseValue(family?.metrics?.[0]?.value ?? '0');
  return Number.isFinite(seconds) ? seconds * 1000 : 0;
}

function decodeFamily(name: string, raw: RawFamily): Family {
  return {
    name,
    type: (raw.type ?? 'untyped').toLowerCase(),
    help: raw.help ?? '',
    pushedMs: Date.parse(raw.time_stamp ?? '') || 0,
    samples: (raw.metrics ?? []).map(decodeSample),
  };
}

function decodeSample(raw: RawMetric): Sample {
  const labels = Object.fromEntries(
    Object.entries(raw.labels ?? {}).filter(([name, value]) => name !== 'instance' || value !== ''),
  );
  if (raw.value !== undefined) return { labels, text: raw.value, series: 1 };
  const native = Array.isArray(raw.buckets);
  const parts = native ? 1 : Object.keys(raw.quantiles ?? raw.buckets ?? {}).length;
  const series = native ? 1 : parts + (raw.count === undefined ? 0 : 1) + (raw.sum === undefined ? 0 : 1);
  return { labels, text: `count ${raw.count ?? '–'}, sum ${raw.sum ?? '–'}`, series };
}

/** The path that pushes to and deletes a group, relative to the page's base. */
export function deletePath(labels: Labels): string {
  const rest = labelPairs(labels).filter(([name]) => name !== 'job');
  return [
    'metrics',
    ...[['job', labels['job'] ?? ''] as const, ...rest].flatMap(([name, value]) => segment(name, value)),
  ].join('/');
}

/** Slashes and nothing at all cannot stand in a path as they are. */
function segment(name: string, value: string): [string, string] {
  if (value === '') return [`${name}@base64`, '='];
  if (!value.includes('/') && value !== '.' && value !== '..') return [name, encodeURIComponent(value)];
  const bytes = Array.from(new TextEncoder().encode(value), (byte) => String.fromCharCode(byte)).join('');
  return [`${name}@base64`, btoa(bytes).replaceAll('+', '-').replaceAll('/', '_')];
}

/** Whether every word of `search` is somewhere in the group's labels or metrics. */
export function groupMatches(group: Group, search: string): boolean {
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => group.words.includes(word));
}
