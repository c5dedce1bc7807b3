// A line without axes: where it goes, in the coordinates of an SVG.

export interface Box {
  readonly width: number;
  readonly height: number;
}

/** The line and the area below it as SVG paths; empty where there is nothing to draw. */
export interface Path {
  readonly line: string;
  readonly area: string;
  /** Where the last value is. */
  readonly end?: { readonly x: number; readonly y: number };
}

/** Room for the stroke at the edges. */
const EDGE = 2;

/** Draws values at even distances. Gaps stay gaps; a flat line is in the middle. */
export function sparkline(values: readonly (number | null)[], box: Box): Path {
  const drawn = values.map((value) => (value !== null && Number.isFinite(value) ? value : null));
  const known = drawn.filter((value) => value !== null);
  if (known.length === 0) return { line: '', area: '' };
  // Not `Math.min(...)`: the list may be longer than a call takes arguments.
  const low = known.reduce((a, b) => Math.min(a, b));
  const high = known.reduce((a, b) => Math.max(a, b));
  const x = (index: number): number => round(EDGE + (index * (box.width - 2 * EDGE)) / Math.max(1, values.length - 1));
  // Halves first: the difference of two huge numbers may be infinite.
  const y = (value: number): number => {
    const part = high === low ? 0.5 : (value / 2 - low / 2) / (high / 2 - low / 2);
    return round(box.height - EDGE - part * (box.height - 2 * EDGE));
  };
  let line = '';
  let area = '';
  let end: Path['end'];
  for (let index = 0; index < drawn.length;) {
    if (drawn[index] === null) {
      index += 1;
      continue;
    }
    const first = index;
    const points: string[] = [];
    for (; index < drawn.length && drawn[index] !== null; index += 1) {
      end = { x: x(index), y: y(drawn[index] ?? 0) };
      points.push(`${end.x},${end.y}`);
    }
    // A single point has no length: a stroke with round ends still shows a dot.
    if (points.length === 1) points.push(points[0] ?? '');
    line += `M${points.join('L')}`;
    area += `M${x(first)},${box.height}L${points.join('L')}L${x(index - 1)},${box.height}Z`;
  }
  return end ? { line, area, end } : { line, area };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
