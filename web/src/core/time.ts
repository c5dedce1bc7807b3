// Points in time and ranges as people write them, and how fine a range is worth asking for.

/** A range as written: each end is `now-1h`, a date and time, or milliseconds. */
export interface Range {
  readonly from: string;
  readonly to: string;
}

/** A range as it is now, in milliseconds; `start < end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export const DEFAULT_RANGE: Range = { from: 'now-1h', to: 'now' };

export const QUICK_RANGES: readonly { readonly from: string; readonly label: string }[] = [
  { from: 'now-5m', label: '5 minutes' },
  { from: 'now-15m', label: '15 minutes' },
  { from: 'now-30m', label: '30 minutes' },
  { from: 'now-1h', label: '1 hour' },
  { from: 'now-3h', label: '3 hours' },
  { from: 'now-6h', label: '6 hours' },
  { from: 'now-12h', label: '12 hours' },
  { from: 'now-24h', label: '24 hours' },
  { from: 'now-2d', label: '2 days' },
  { from: 'now-7d', label: '7 days' },
  { from: 'now-30d', label: '30 days' },
  { from: 'now-90d', label: '90 days' },
  { from: 'now-1y', label: '1 year' },
];

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};

/** A duration as PromQL writes it (`1h30m`, `90s`) in milliseconds; `undefined` for anything else. */
export function parseDuration(text: string): number | undefined {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(ms|[smhdwy])/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text.trim()) return undefined;
  return parts.reduce((sum, [, number = '', unit = '']) => sum + Number(number) * (UNITS[unit] ?? 0), 0);
}

/** Milliseconds as PromQL writes a duration. */
export function formatDuration(ms: number): string {
  let rest = Math.max(1, Math.round(ms));
  let text = '';
  for (const unit of ['w', 'd', 'h', 'm', 's', 'ms']) {
    const length = UNITS[unit] ?? 1;
    const count = Math.floor(rest / length);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * length;
  }
  return text;
}

/** A point in time in milliseconds; local time where no zone is given. */
export function parseTime(text: string, now: number): number | undefined {
  const trimmed = text.trim();
  if (trimmed.startsWith('now')) return parseRelative(trimmed.slice(3), now);
  if (/^-?\d{1,10}(?:\.\d+)?$/.test(trimmed) && !/^\d{4}$/.test(trimmed)) return Number(trimmed) * 1000;
  if (/^\d{11,15}$/.test(trimmed)) return Number(trimmed);
  const match =
    /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?))?\s*(Z|UTC|[+-]\d{2}:\d{2})?$/i.exec(trimmed);
  if (!match) return undefined;
  const [, date, time = '00:00', zone = ''] = match;
  const iso = `${date}T${time.padStart(time.indexOf(':') === 1 ? time.length + 1 : 0, '0')}${zone.toUpperCase().replace('UTC', 'Z')}`;
  const ms = new Date(iso).getTime();
  return Number.isNaN(ms) ? undefined : ms;
}

function parseRelative(text: string, now: number): number | undefined {
  let ms = now;
  let rest = text.replaceAll(' ', '');
  while (rest !== '') {
    const match = /^([+-])((?:\d+(?:ms|[smhdwy]))+)/.exec(rest);
    const length = match ? parseDuration(match[2] ?? '') : undefined;
    if (!match || length === undefined) return undefined;
    ms += match[1] === '-' ? -length : length;
    rest = rest.slice(match[0].length);
  }
  return ms;
}

/** The range as it is at `now`, or why it is none. */
export function resolveRange(range: Range, now: number): Span | string {
  const start = parseTime(range.from, now);
  const end = parseTime(range.to, now);
  if (start === undefined) return `“${range.from}” is no time. Try now-1h, or 2026-01-31 14:00.`;
  if (end === undefined) return `“${range.to}” is no time. Try now, or 2026-01-31 15:00.`;
  if (start >= end) return 'The range ends before it begins.';
  return { start, end };
}

export function isRelative(range: Range): boolean {
  return range.from.trim().startsWith('now') && range.to.trim().startsWith('now');
}

const pad = (value: number, digits = 2): string => String(value).padStart(digits, '0');

/** `2026-01-31`. */
export function formatDate(ms: number): string {
  const date = new Date(ms);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

/** `14:05:09`, 24 hours, local. */
export function formatClock(ms: number, withMs = false): string {
  const date = new Date(ms);
  const text = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return withMs ? `${text}.${pad(date.getMilliseconds(), 3)}` : text;
}

/** `2026-01-31 14:05:09`. */
export function formatTime(ms: number): string {
  return Math.abs(ms) < 8.64e15 ? `${formatDate(ms)} ${formatClock(ms)}` : 'never';
}

/** What stands on the range button. */
export function describeRange(range: Range): string {
  const quick = QUICK_RANGES.find((known) => known.from === range.from.trim());
  if (range.to.trim() === 'now' && quick) return `Last ${quick.label}`;
  if (isRelative(range)) return `${range.from} to ${range.to}`;
  return `${describeEnd(range.from)} – ${describeEnd(range.to)}`;
}

function describeEnd(text: string): string {
  const ms = text.trim().startsWith('now') ? undefined : parseTime(text, 0);
  return ms === undefined ? text : formatTime(ms).replace(/:00$/, '');
}

/** The range moved by a part of its length: -0.5 is half of it back. */
export function shiftSpan(span: Span, part: number): Range {
  const by = (span.end - span.start) * part;
  return absoluteRange({ start: span.start + by, end: span.end + by });
}

/** Twice as long around the same middle, but not into the future. */
export function zoomOut(span: Span, now: number): Range {
  const length = (span.end - span.start) * 2;
  const end = Math.min((span.start + span.end) / 2 + length / 2, Math.max(now, span.end));
  return absoluteRange({ start: end - length, end });
}

/** The span as a range that can stand in an address. */
export function absoluteRange(span: Span): Range {
  return { from: String(Math.round(span.start)), to: String(Math.round(span.end)) };
}

const STEPS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];

/** Prometheus answers no more than 11,000 points a series. */
const POINTS_MAX = 11_000;

/** Seconds between points: about one every two pixels, a round number, never more points than the server gives. */
export function niceStep(span: Span, width: number): number {
  const wanted = (span.end - span.start) / 1000 / Math.max(50, Math.min(width / 2, POINTS_MAX));
  return STEPS.find((step) => step >= wanted) ?? Math.ceil(wanted / 604_800) * 604_800;
}

/** A step as written in seconds, raised where the server would refuse it. */
export function stepFor(span: Span, width: number, written: string | undefined): number {
  const ms = written === undefined ? undefined : parseDuration(written);
  if (ms === undefined || ms <= 0) return niceStep(span, width);
  return Math.max(ms / 1000, (span.end - span.start) / 1000 / POINTS_MAX);
}

/** `5 s ago`, `3 min ago`, `in 2 h`. */
export function formatAgo(ms: number, now: number): string {
  const seconds = Math.round((now - ms) / 1000);
  if (Math.abs(seconds) < 2) return 'now';
  const size = Math.abs(seconds);
  const [length, name] =
    size < 60 ? [1, 's'] : size < 3600 ? [60, 'min'] : size < 172_800 ? [3600, 'h'] : [86_400, 'd'];
  const text = `${Math.floor(size / length)} ${name}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** Axis labels for ticks `step` seconds apart: dates where the day changes, seconds only where they differ. */
export function axisLabels(ticks: readonly number[], step: number): string[] {
  let day = '';
  return ticks.map((tick) => {
    const date = formatDate(tick * 1000);
    const newDay = date !== day;
    const first = day === '';
    day = date;
    if (step >= 86_400) return date.slice(5);
    const clock = formatClock(tick * 1000, step < 1).slice(0, step < 60 ? undefined : 5);
    const midnight = clock.startsWith('00:00');
    return newDay && (!first || midnight) ? date.slice(5) : clock;
  });
}
