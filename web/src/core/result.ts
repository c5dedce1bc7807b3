// Results of PromQL as the API sends them, decoded once into what charts and tables draw.

export type Labels = Readonly<Record<string, string>>;

/** `[seconds, "value"]`. */
type RawPoint = readonly [number, string];

export interface RawHistogram {
  readonly count: string;
  readonly sum: string;
  readonly buckets?: readonly (readonly [number, string, string, string])[];
}

interface RawSeries {
  readonly metric?: Labels;
  readonly value?: RawPoint;
  readonly values?: readonly RawPoint[];
  readonly histogram?: readonly [number, RawHistogram];
  readonly histograms?: readonly (readonly [number, RawHistogram])[];
}

export interface RawResult {
  readonly resultType: 'vector' | 'matrix' | 'scalar' | 'string';
  readonly result: readonly RawSeries[] | RawPoint;
}

/** A row of a table: one sample, with its value as the server wrote it. */
export interface Row {
  readonly labels: Labels;
  readonly seconds: number;
  readonly text: string;
  /** `NaN` where the value is no number. */
  readonly value: number;
  readonly histogram?: RawHistogram;
}

/** Series on one common grid of times. */
export interface Grid {
  /** Seconds, rising. */
  readonly times: Float64Array;
  readonly series: readonly GridSeries[];
  /** Series that hold native histograms, which are no line. */
  readonly histograms: number;
}

export interface GridSeries {
  readonly labels: Labels;
  /** One for each time; `NaN` is a sample that is not a number, `null` is no sample. */
  readonly values: (number | null)[];
}

/** As Go writes floats. */
export function parseValue(text: string): number {
  switch (text) {
    case '+Inf':
    case 'Inf':
      return Infinity;
    case '-Inf':
      return -Infinity;
    default:
      return text === '' ? NaN : Number(text);
  }
}

/** The rows of an instant query. */
export function decodeRows(data: RawResult): Row[] {
  if (data.resultType === 'scalar' || data.resultType === 'string') {
    const [seconds, text] = data.result as RawPoint;
    return [{ labels: {}, seconds, text, value: data.resultType === 'scalar' ? parseValue(text) : NaN }];
  }
  const rows: Row[] = [];
  for (const series of data.result as readonly RawSeries[]) {
    const labels = series.metric ?? {};
    for (const [seconds, text] of series.values ?? (series.value ? [series.value] : [])) {
      rows.push({ labels, seconds, text, value: parseValue(text) });
    }
    for (const [seconds, histogram] of series.histograms ?? (series.histogram ? [series.histogram] : [])) {
      const text = `count ${histogram.count}, sum ${histogram.sum}`;
      rows.push({ labels, seconds, text, value: parseValue(histogram.count), histogram });
    }
  }
  return rows;
}

/** A matrix on the grid `start`, `start + step`, ... up to `end`, all in seconds. */
export function decodeGrid(data: RawResult, start: number, end: number, step: number): Grid {
  const count = Math.max(1, Math.floor((end - start) / step + 1e-6) + 1);
  const times = Float64Array.from({ length: count }, (_, index) => start + index * step);
  const series: GridSeries[] = [];
  let histograms = 0;
  for (const { metric = {}, values, histograms: native } of data.resultType === 'matrix'
    ? (data.result as readonly RawSeries[])
    : []) {
    if (native !== undefined && native.length > 0) histograms += 1;
    if (values === undefined || values.length === 0) continue;
    const column = new Array<number | null>(count).fill(null);
    for (const [seconds, text] of values) {
      // Times come rounded to milliseconds: the nearest place of the grid is theirs.
      const index = Math.round((seconds - start) / step);
      if (index >= 0 && index < count) column[index] = parseValue(text);
    }
    series.push({ labels: metric, values: column });
  }
  return { times, series, histograms };
}

/** Where an error is, as the parser counts it: both from 1, columns in bytes of UTF-8. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Takes `invalid parameter "query": 1:4: parse error: ...` apart. */
export function parseProblem(message: string): { readonly text: string; readonly position?: Position } {
  const match = /^(?:invalid parameter "query": )?(\d+):(\d+): (?:parse error: )?([\s\S]*)$/.exec(message);
  if (!match) return { text: message.replace(/^invalid parameter "query": /, '') };
  return { text: match[3] ?? message, position: { line: Number(match[1]), column: Number(match[2]) } };
}

/** The offset of a position in `text`, in UTF-16 units; never past its end. */
export function offsetOf(text: string, position: Position): number {
  const lines = text.split('\n');
  const before = lines.slice(0, position.line - 1).reduce((sum, line) => sum + line.length + 1, 0);
  const line = lines[position.line - 1] ?? '';
  const encoder = new TextEncoder();
  let bytes = 0;
  let units = 0;
  for (const character of line) {
    if (bytes >= position.column - 1) break;
    bytes += encoder.encode(character).length;
    units += character.length;
  }
  return Math.min(before + units, text.length);
}
