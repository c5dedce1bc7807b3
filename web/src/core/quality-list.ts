// The list of projects: what the sync says and what is stored, joined, filtered and sorted.

import { GATE_METRIC, gateOf, MEASURES, type Branch, type Gate, type MeasureKey, type Project } from './quality';
import type { Row } from './result';
import { METRIC_NAME } from './series';

/** A line of the list. What a project has no number for is not in `values`. */
export interface QualityRow {
  readonly project: string;
  readonly name: string;
  readonly branch: string;
  readonly main: boolean;
  readonly gate: Gate | undefined;
  readonly values: Readonly<Partial<Record<MeasureKey, number>>>;
  /** Seconds. */
  readonly analysed: number | undefined;
  readonly synced: number | undefined;
  readonly gone: number | undefined;
  readonly problem: string;
}

const KEY_OF: ReadonlyMap<string, MeasureKey> = new Map(
  Object.entries(MEASURES).map(([key, measure]) => [measure.metric, key as MeasureKey]),
);
/** Branches that are the main one where nobody says which is. */
const MAIN_NAMES: readonly string[] = ['main', 'master', 'develop', 'trunk'];

/** The main one of these branches; one that is gone only where no other is left. */
export function mainBranch(
  branches: readonly { readonly name: string; readonly main: boolean; readonly gone?: number | undefined }[],
): string {
  const there = branches.filter((branch) => branch.gone === undefined);
  const all = there.length > 0 ? there : branches;
  const told = all.find((branch) => branch.main)?.name;
  const known = MAIN_NAMES.find((name) => all.some((branch) => branch.name === name));
  return told ?? known ?? all[0]?.name ?? '';
}

const UNTOLD = { main: false, gate: undefined, analysed: undefined, gone: undefined, problem: '' } as const;

const ID_GAP = '\n';
const idOf = (project: string, branch: string): string => `${project}${ID_GAP}${branch}`;

/** Joins what the sync says and what is stored: a line for each branch of each project that either knows. */
export function joinProjects(projects: readonly Project[], stored: readonly Row[]): QualityRow[] {
  const values = new Map<string, { gate: Gate | undefined; numbers: Partial<Record<MeasureKey, number>> }>();
  const branches = new Map<string, Map<string, Branch>>();
  for (const project of projects)
    branches.set(project.key, new Map(project.branches.map((branch) => [branch.name, branch])));
  for (const { labels, value } of stored) {
    const [project = '', branch = ''] = [labels['project'], labels['branch']];
    if (project === '') continue;
    const known = branches.get(project) ?? new Map<string, Branch>();
    branches.set(project, known);
    if (!known.has(branch)) known.set(branch, { ...UNTOLD, name: branch });
    const id = idOf(project, branch);
    const found = values.get(id) ?? { gate: undefined, numbers: {} };
    values.set(id, found);
    const metric = labels[METRIC_NAME] ?? '';
    const key = KEY_OF.get(metric);
    if (key && Number.isFinite(value)) found.numbers[key] = value;
    if (metric === GATE_METRIC && value === 1) found.gate = gateOf(labels['status']);
  }
  const names = new Map(projects.map((project) => [project.key, project]));
  return [...branches].flatMap(([project, known]) => {
    const main = mainBranch([...known.values()]);
    const told = names.get(project);
    const row = (branch: Branch): QualityRow => {
      const found = values.get(idOf(project, branch.name));
      return {
        project,
        name: told?.name ?? project,
        branch: branch.name,
        main: branch.name === main,
        gate: found?.gate ?? branch.gate,
        values: found?.numbers ?? {},
        analysed: branch.analysed ?? found?.numbers.analysed,
        synced: told?.synced,
        gone: branch.gone,
        problem: branch.problem || (told?.problem ?? ''),
      };
    };
    // A project whose branches could not be asked for is still one.
    if (known.size === 0) return [row({ ...UNTOLD, name: '' })];
    return [...known.values()].map(row);
  });
}

/** What the list can be sorted by. */
export type SortKey = 'name' | 'gate' | 'analysed' | Exclude<MeasureKey, 'analysed'>;

/** What the list shows, as its address says it. */
export interface ListState {
  readonly text: string;
  /** Empty for the main branch of each, `*` for all of them. */
  readonly branch: string;
  readonly gate: Gate | '';
  readonly sort: SortKey;
  readonly down: boolean;
}

export const ALL_BRANCHES = '*';

export function readList(params: URLSearchParams): ListState {
  const sort = params.get('sort') ?? '';
  const key = sort.replace(/^-/, '');
  const known = key === 'name' || key === 'gate' || Object.hasOwn(MEASURES, key);
  return {
    text: params.get('q') ?? '',
    branch: params.get('branch') ?? '',
    gate: gateOf(params.get('gate') ?? '') ?? '',
    sort: known ? (key as SortKey) : 'name',
    down: known && sort.startsWith('-'),
  };
}

export function writeList(state: ListState): string {
  const params = new URLSearchParams();
  if (state.text !== '') params.set('q', state.text);
  if (state.branch !== '') params.set('branch', state.branch);
  if (state.gate !== '') params.set('gate', state.gate);
  if (state.sort !== 'name' || state.down) params.set('sort', `${state.down ? '-' : ''}${state.sort}`);
  return params.size > 0 ? `quality?${params}` : 'quality';
}

/** The lines that are wanted, but for the gate: so that gates can be counted. */
export function filterRows(rows: readonly QualityRow[], state: ListState): QualityRow[] {
  const text = state.text.trim().toLowerCase();
  return rows.filter(
    (row) =>
      (state.branch === ALL_BRANCHES || (state.branch === '' ? row.main : row.branch === state.branch)) &&
      `${row.name}\n${row.project}\n${row.branch}`.toLowerCase().includes(text),
  );
}

const BY_NAME = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });
const GATE_ORDER: readonly (Gate | undefined)[] = ['error', 'warn', 'ok'];

/** Sorted; what has no value is last, whichever way. */
export function sortRows(rows: readonly QualityRow[], sort: SortKey, down: boolean): QualityRow[] {
  const value = (row: QualityRow): number | undefined => {
    if (sort === 'gate') return row.gate && GATE_ORDER.indexOf(row.gate);
    if (sort === 'analysed') return row.analysed;
    return sort === 'name' ? undefined : row.values[sort];
  };
  const byName = (a: QualityRow, b: QualityRow): number =>
    BY_NAME.compare(a.name, b.name) ||
    BY_NAME.compare(a.project, b.project) ||
    Number(b.main) - Number(a.main) ||
    BY_NAME.compare(a.branch, b.branch);
  return rows.toSorted((a, b) => {
    if (sort === 'name') return (down ? -1 : 1) * byName(a, b);
    const [left, right] = [value(a), value(b)];
    if (left === undefined || right === undefined)
      return Number(left === undefined) - Number(right === undefined) || byName(a, b);
    return (down ? -1 : 1) * (left - right) || byName(a, b);
  });
}
