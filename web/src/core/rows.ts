// Which rows of a long list are worth drawing: those that are seen, and some around them.

export interface Seen {
  /** The rows from `first` to before `last`. */
  readonly first: number;
  readonly last: number;
  /** Room that the rows before and after them take, in pixels. */
  readonly before: number;
  readonly after: number;
}

/** The rows of `heights` that reach into `top` to `bottom`, all in pixels from the top of the list. */
export function rowsWithin(heights: readonly number[], top: number, bottom: number): Seen {
  const reaches = (end: number): boolean => end >= top;
  let [first, before, at] = [0, 0, 0];
  while (first < heights.length && !reaches(before + (heights[first] ?? 0))) {
    before += heights[first] ?? 0;
    first += 1;
  }
  at = before;
  let last = first;
  while (last < heights.length && at <= bottom) {
    at += heights[last] ?? 0;
    last += 1;
  }
  let after = 0;
  for (let row = last; row < heights.length; row += 1) after += heights[row] ?? 0;
  return { first, last, before, after };
}
