// What the server says of how it answered.

import { formatTime } from './time';

/** One expression of a query, with what it took. */
export interface PlanNode {
  readonly type: string;
  readonly text: string;
  readonly seriesMatched: number | null;
  readonly samplesRead: number | null;
  readonly memoryPartitions: number | null;
  readonly blocks: number | null;
  readonly tiers: readonly Tier[];
  readonly series: number | null;
  readonly points: number | null;
  readonly milliseconds: number | null;
  readonly once: boolean;
  readonly children: readonly PlanNode[];
}

/** What was read from buckets in the place of samples; times in seconds. */
export interface Tier {
  readonly resolution: string;
  readonly start: number;
  readonly end: number;
  readonly fidelity: 'exact' | 'widened' | 'approximate';
}

/** Why there is no answer. */
export interface Reason {
  readonly message: string;
  readonly line: number;
  readonly column: number;
  readonly examples: readonly { readonly side: string; readonly metric: Readonly<Record<string, string>> }[];
}

export interface Explained {
  readonly plan: PlanNode;
  readonly answer: { readonly series: number; readonly points: number };
  readonly reasons: readonly Reason[];
  readonly totals: { readonly samplesRead: number; readonly totalMilliseconds: number; readonly bytesPeak: number };
}

/** A tree as rows, parents first. */
export function flatten(node: PlanNode, depth = 0): readonly { readonly node: PlanNode; readonly depth: number }[] {
  return [{ node, depth }, ...node.children.flatMap((child) => flatten(child, depth + 1))];
}

/** Where a selector's samples were. */
export function origin({ memoryPartitions, blocks }: PlanNode): string | undefined {
  if (memoryPartitions === null || blocks === null) return undefined;
  const parts = memoryPartitions === 1 ? '1 part' : `${memoryPartitions} parts`;
  return `from ${parts} in memory and ${blocks} ${blocks === 1 ? 'block' : 'blocks'} on disk`;
}

/** Which buckets a selector's samples were read from. */
export function bucketsRead({ tiers }: PlanNode): readonly string[] {
  return tiers.map(
    ({ resolution, start, end, fidelity }) =>
      `buckets of ${resolution}, ${fidelity}, ${formatTime(start * 1000)} to ${formatTime(end * 1000)}`,
  );
}

/** The whole in a line. */
export function figures({ answer, totals }: Explained): string {
  const count = (number: number, one: string) => `${number} ${number === 1 ? one : one === 'series' ? one : `${one}s`}`;
  return `${count(answer.series, 'series')}, ${count(answer.points, 'point')}; ${count(totals.samplesRead, 'sample')} read in ${totals.totalMilliseconds.toFixed(1)} ms.`;
}
