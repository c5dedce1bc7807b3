// Lines over time on a canvas. Knows uPlot; nobody else does.

import uPlot from 'uplot';
import type { Kind, Mark } from '../core/quality';
import { COLORS } from '../core/series';
import { axisLabels } from '../core/time';
import { formatValue, type Unit } from '../core/units';

export interface Line {
  readonly name: string;
  /** A place among the colours, see `colorSlots`. */
  readonly slot: number;
  readonly values: readonly (number | null)[];
}

export interface PlotData {
  readonly times: Float64Array;
  readonly lines: readonly Line[];
}

export interface PlotOptions {
  readonly height: number;
  readonly unit: Unit;
  readonly stacked: boolean;
  /** A value holds until the next one. */
  readonly stepped?: boolean;
  /** A share of 1 that ends at 1, a count that begins at 0. */
  readonly min?: number;
  readonly max?: number;
  /** Charts of one group show the same moment. */
  readonly group?: string;
  /** Seconds, when a part was dragged over. */
  readonly onSelect?: (start: number, end: number) => void;
  readonly onZoomOut?: () => void;
  /** The place under the pointer, `null` when it is gone; `x` and `y` in pixels of the chart. */
  readonly onCursor: (index: number | null, x: number, y: number, nearest: number | null) => void;
}

interface Colors {
  readonly lines: readonly string[];
  readonly grid: string;
  readonly muted: string;
  readonly marks: Readonly<Record<Kind, string>>;
}

const FONT = '12px system-ui, sans-serif';
const AXIS_GAP = 6;
/** Solid first, then ever finer, so that equal colours can be told apart. */
const DASHES: readonly number[][] = [[], [8, 4], [3, 3], [10, 3, 3, 3]];
/** Steps of an axis of bytes: round numbers of KiB, MiB and so on. */
const BINARY_STEPS: number[] = Array.from({ length: 7 }, (_, power) => 1024 ** power).flatMap((unit) =>
  [1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 250, 256, 500, 512].map((step) => step * unit),
);
/** Steps of an axis of working time: round numbers of minutes and hours. */
const WORK_STEPS: number[] = [1, 5, 10, 30]
  .map((minutes) => minutes * 60)
  .concat(
    Array.from({ length: 7 }, (_, power) => 10 ** power).flatMap((unit) => [1, 2, 5].map((step) => step * unit * 3600)),
  );
/** Pixels around a line within which it is the one that is meant. */
const NEAR = 28;
/** How marks stand at their upper end, so that they are not told apart by colour alone: pixels from the line. */
const FLAGS: Readonly<Record<Kind, readonly (readonly [number, number])[]>> = {
  bad: [
    [-5, 0],
    [5, 0],
    [0, 8],
  ],
  good: [
    [-5, 8],
    [5, 8],
    [0, 0],
  ],
  warn: [
    [0, 0],
    [5, 4],
    [0, 8],
    [-5, 4],
  ],
  note: [
    [0, 0],
    [8, 0],
    [8, 7],
    [0, 7],
  ],
};

/** The colours of the theme: a canvas does not know variables of style sheets. */
export function readColors(element: Element): Colors {
  const style = getComputedStyle(element);
  // A registered colour would be computed; asking a property that is one has it computed as well.
  const probe = document.createElement('i');
  element.append(probe);
  const color = (name: string): string => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color || style.color;
  };
  const colors = {
    lines: Array.from({ length: COLORS }, (_, index) => color(`--series-${index + 1}`)),
    grid: color('--grid'),
    muted: color('--muted'),
    marks: { good: color('--good'), warn: color('--warn'), bad: color('--bad'), note: color('--accent') },
  };
  probe.remove();
  return colors;
}

const STEPS: Readonly<Partial<Record<Unit, number[]>>> = {
  bytes: BINARY_STEPS,
  'bytes/s': BINARY_STEPS,
  work: WORK_STEPS,
  rating: [1, 2, 4],
};
const STEPPED = uPlot.paths.stepped?.({ align: 1 });

export class Plot {
  private plot: uPlot | undefined;
  private data: PlotData = { times: new Float64Array(), lines: [] };
  private shown: readonly boolean[] = [];
  private emphasized: number | null = null;
  private marks: readonly Mark[] = [];
  private pointed: number | null = null;
  private readonly observer: ResizeObserver;

  constructor(
    private readonly element: HTMLElement,
    private readonly options: PlotOptions,
  ) {
    this.observer = new ResizeObserver(() => {
      const width = Math.floor(element.clientWidth);
      if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: options.height });
      else if (!this.plot) this.draw();
    });
    this.observer.observe(element);
  }

  /** Draws `data`; `shown` says of each line whether it is. */
  set(data: PlotData, shown: readonly boolean[]): void {
    const before = this.data.lines;
    const same =
      before.length === data.lines.length &&
      data.lines.every((line, i) => line.name === before[i]?.name && line.slot === before[i]?.slot);
    const sameShown = this.shown.length === shown.length && shown.every((value, index) => value === this.shown[index]);
    this.data = data;
    this.shown = shown;
    if (this.plot && same && sameShown && !this.options.stacked) this.plot.setData(this.columns(), true);
    else this.draw();
  }

  /** Makes everything but one line pale; `null` for none. */
  emphasize(index: number | null): void {
    if (this.emphasized === index || !this.plot) return;
    this.emphasized = index;
    this.plot.redraw(false, false);
  }

  /** Marks moments with upright lines; `pointed` is the one that stands out, in seconds. */
  mark(marks: readonly Mark[], pointed: number | null): void {
    if (this.marks === marks && this.pointed === pointed) return;
    this.marks = marks;
    this.pointed = pointed;
    this.plot?.redraw(false, false);
  }

  /** Draws anew, with the colours as they are now. */
  draw(): void {
    this.plot?.destroy();
    this.plot = undefined;
    const width = Math.floor(this.element.clientWidth);
    if (width <= 0 || this.data.times.length === 0) return;
    this.plot = new uPlot(this.build(width), this.columns(), this.element);
  }

  /** Moves the cursor by so many points; from nowhere to the last one. */
  move(by: number): void {
    if (!this.plot) return;
    const last = this.data.times.length - 1;
    const index = Math.max(0, Math.min(last, (this.plot.cursor.idx ?? last + (by < 0 ? 1 : -1)) + by));
    const left = this.plot.valToPos(this.data.times[index] ?? 0, 'x');
    this.plot.setCursor({ left, top: this.plot.over.clientHeight / 2 });
  }

  leave(): void {
    this.plot?.setCursor({ left: -10, top: -10 });
  }

  destroy(): void {
    this.observer.disconnect();
    this.plot?.destroy();
  }

  private columns(): uPlot.AlignedData {
    const finite = (value: number | null): number | null => (value !== null && Number.isFinite(value) ? value : null);
    const columns = this.data.lines.map((line) => line.values.map(finite));
    if (this.options.stacked) {
      let below: (number | null)[] | undefined;
      // A line that is not shown does not lift those above it.
      columns.forEach((column, index) => {
        if (!this.shown[index]) return;
        const under = below;
        if (under)
          for (let i = 0; i < column.length; i += 1)
            column[i] = column[i] == null && under[i] == null ? null : (column[i] ?? 0) + (under[i] ?? 0);
        below = column;
      });
    }
    return [this.data.times, ...columns] as uPlot.AlignedData;
  }

  private build(width: number): uPlot.Options {
    const { height, unit, stacked, min, max, group, onSelect } = this.options;
    // On each other they are no ratings any more.
    const rated = unit === 'rating' && !stacked;
    const steps = STEPS[unit];
    const colors = readColors(this.element);
    const range: uPlot.Range.Function = (_plot, low, high) => {
      if (rated) return [0.7, 5.3];
      if (low === null || high === null) return [min ?? 0, max ?? 1];
      const pad = high === low ? Math.abs(high) * 0.1 || 1 : (high - low) * 0.06;
      const bottom = min ?? (stacked ? Math.min(0, low) : low >= 0 && low < (high - low) * 1.5 ? 0 : low - pad);
      return [bottom, max ?? (high === bottom ? bottom + 1 : high + pad)];
    };
    const visible = this.data.lines.map((_, index) => index).filter((index) => this.shown[index]);
    return {
      width,
      height,
      padding: [10, 14, 0, 0],
      legend: { show: false },
      // The best rating is the least, and stands above.
      scales: { x: { time: true }, y: { range, dir: rated ? -1 : 1 } },
      cursor: {
        y: false,
        drag: { x: onSelect !== undefined, y: false, dist: 6, setScale: false },
        points: { size: 7, width: 2 },
        focus: { prox: NEAR },
        ...(group === undefined ? {} : { sync: { key: group, setSeries: false } }),
        bind: { dblclick: () => () => (this.options.onZoomOut?.(), null) },
      },
      axes: [
        {
          stroke: colors.muted,
          font: FONT,
          grid: { show: false },
          ticks: { stroke: colors.grid, size: 4 },
          space: 70,
          size: 30,
          values: (_plot, splits, _axis, _space, step) => axisLabels(splits, step),
        },
        {
          stroke: colors.muted,
          font: FONT,
          grid: { stroke: colors.grid, width: 1 },
          ticks: { show: false },
          space: rated ? 18 : 34,
          gap: AXIS_GAP,
          ...(steps ? { incrs: steps } : {}),
          values: (_plot, splits) => axisTexts(splits, unit),
          size: (plot, values) => {
            plot.ctx.font = FONT;
            const widest = (values ?? []).reduce((most, text) => Math.max(most, plot.ctx.measureText(text).width), 0);
            return Math.ceil(widest) + AXIS_GAP + 14;
          },
        },
      ],
      series: [{}, ...this.data.lines.map((line, index) => this.series(line, index, colors))],
      bands: stacked
        ? visible
            .slice(1)
            .map((index, place) => ({ series: [index + 1, (visible[place] ?? 0) + 1] as [number, number] }))
        : [],
      hooks: {
        setSelect: [
          (plot) => {
            const { left, width: wide } = plot.select;
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            if (wide > 4) onSelect?.(plot.posToVal(left, 'x'), plot.posToVal(left + wide, 'x'));
          },
        ],
        setCursor: [(plot) => this.point(plot)],
        draw: [(plot) => this.drawMarks(plot, colors)],
      },
    };
  }

  private series(line: Line, index: number, colors: Colors): uPlot.Series {
    const color = colors.lines[line.slot % COLORS] ?? colors.muted;
    const alone = this.data.lines.length === 1;
    const faded = (strength: number): string =>
      color.replace(
        /^rgba?\(([^)]*)\)$/,
        (_, parts: string) =>
          `rgb(${parts
            .split(/[ ,/]+/)
            .slice(0, 3)
            .join(' ')} / ${strength})`,
      );
    return {
      label: line.name,
      show: this.shown[index] ?? true,
      stroke: () => (this.emphasized !== null && this.emphasized !== index ? faded(0.2) : color),
      ...(this.options.stacked ? { fill: faded(0.35) } : alone ? { fill: faded(0.1) } : {}),
      width: 1.5,
      ...(this.options.stepped && STEPPED ? { paths: STEPPED } : {}),
      dash: DASHES[Math.floor(line.slot / COLORS) % DASHES.length] ?? [],
      points: {
        show: (plot: uPlot, _series: number, from: number, to: number) => isSparse(plot.data[index + 1], from, to),
        size: 4,
      },
    };
  }

  private drawMarks(plot: uPlot, colors: Colors): void {
    const { ctx, bbox } = plot;
    const drawn = new Set<string>();
    // The one that stands out is over the others.
    const order = this.marks.toSorted(
      (a, b) => Number(a.seconds === this.pointed) - Number(b.seconds === this.pointed),
    );
    ctx.save();
    for (const { seconds, kind } of order) {
      const x = Math.round(plot.valToPos(seconds, 'x', true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const pointed = seconds === this.pointed;
      const place = `${x} ${kind} ${pointed}`;
      if (drawn.has(place)) continue;
      drawn.add(place);
      const scale = devicePixelRatio;
      ctx.strokeStyle = ctx.fillStyle = colors.marks[kind];
      ctx.lineWidth = (pointed ? 2.5 : 1) * scale;
      ctx.setLineDash(pointed ? [] : [4 * scale, 3 * scale]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      for (const [right, down] of FLAGS[kind]) ctx.lineTo(x + right * scale, bbox.top + (down - 8) * scale);
      ctx.fill();
    }
    ctx.restore();
  }

  private point(plot: uPlot): void {
    const { left = -1, top = -1, idx } = plot.cursor;
    if (left < 0 || idx === null || idx === undefined) {
      this.options.onCursor(null, 0, 0, null);
      return;
    }
    let nearest: number | null = null;
    let least = NEAR;
    for (let index = 0; index < this.data.lines.length; index += 1) {
      const value = this.shown[index] ? plot.data[index + 1]?.[idx] : null;
      if (value === null || value === undefined) continue;
      const distance = Math.abs(plot.valToPos(value, 'y') - top);
      if (distance < least) [least, nearest] = [distance, index];
    }
    this.options.onCursor(
      idx,
      left + plot.bbox.left / devicePixelRatio,
      top + plot.bbox.top / devicePixelRatio,
      nearest,
    );
  }
}

/** Whether points stand alone, so that no line would show them. */
function isSparse(values: ArrayLike<number | null | undefined> | undefined, from: number, to: number): boolean {
  if (!values) return false;
  let known = 0;
  for (let index = from; index <= to; index += 1) if (values[index] !== null && values[index] !== undefined) known += 1;
  return known > 0 && known <= 2;
}

/** Texts of an axis that differ: more digits where the short ones are equal. */
function axisTexts(splits: readonly number[], unit: Unit): string[] {
  const texts = splits.map((value) => formatValue(value, unit));
  if (new Set(texts).size === texts.length) return texts;
  const step = Math.abs((splits[1] ?? 0) - (splits[0] ?? 0));
  const digits = Math.max(0, Math.min(12, Math.ceil(-Math.log10(step || 1))));
  return splits.map((value) => value.toFixed(digits));
}
