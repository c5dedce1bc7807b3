// Numbers as people read them: units, counts, durations.

/** What a number measures. `none` is a plain number; `ratio` is a share of 1; `work` is seconds that somebody works, whose
 * days are no days of 24 hours; `rating` is 1 (A) to 5 (E). */
export type Unit = 'none' | 'bytes' | 'bytes/s' | 'seconds' | 'ratio' | 'per second' | 'date' | 'work' | 'rating';

const DECIMAL = ['', 'k', 'M', 'G', 'T', 'P', 'E'];
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** Three significant digits without needless zeros: `1.23`, `12.3`, `123`. */
function threeDigits(value: number): string {
  const size = Math.abs(value);
  const decimals = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return trimZeros(value.toFixed(decimals));
}

function trimZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

function scaled(value: number, base: number, names: readonly string[]): [string, string] {
  let size = Math.abs(value);
  let index = 0;
  while (size >= base && index < names.length - 1) {
    size /= base;
    index += 1;
  }
  // 999.96 would read "1000": it belongs to the next name.
  if (Number(threeDigits(size)) >= base && index < names.length - 1) {
    size /= base;
    index += 1;
  }
  return [(value < 0 ? '-' : '') + threeDigits(size), names[index] ?? ''];
}

/** `1.23k`, `0.0042`, `1.2e-9`; never longer than nine characters. */
export function formatShort(value: number): string {
  if (!Number.isFinite(value)) return formatSpecial(value);
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 1e-4 || size >= 1e21) return trimExponent(value.toExponential(2));
  if (size < 1) return trimZeros(value.toPrecision(3));
  const [number, name] = scaled(value, 1000, DECIMAL);
  return number + name;
}

function trimExponent(text: string): string {
  const [digits = '', exponent = ''] = text.split('e');
  return `${trimZeros(digits)}e${exponent.replace('+', '')}`;
}

function formatSpecial(value: number): string {
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}

/** `1.5 GiB`. */
export function formatBytes(value: number): string {
  if (!Number.isFinite(value)) return formatSpecial(value);
  if (value !== 0 && Math.abs(value) < 1) return `${trimZeros(value.toPrecision(2))} B`;
  return scaled(value, 1024, BINARY).join(' ');
}

/** Seconds as one or two units: `350 µs`, `1.5 s`, `2 h 5 min`, `3 d`. */
export function formatSeconds(value: number): string {
  if (!Number.isFinite(value)) return formatSpecial(value);
  const size = Math.abs(value);
  const sign = value < 0 ? '-' : '';
  if (size === 0) return '0 s';
  if (size < 1e-6) return `${sign}${threeDigits(size * 1e9)} ns`;
  if (size < 1e-3) return `${sign}${threeDigits(size * 1e6)} µs`;
  if (size < 1) return `${sign}${threeDigits(size * 1e3)} ms`;
  if (size < 60) return `${sign}${threeDigits(size)} s`;
  const steps: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const first = steps.findIndex(([length]) => size >= length);
  const [length = 1, name = 's'] = steps[first] ?? [];
  const [nextLength, nextName] = steps[first + 1] ?? [0, ''];
  let whole = Math.floor(size / length);
  let rest = nextLength ? Math.round((size - whole * length) / nextLength) : 0;
  if (nextLength && rest * nextLength >= length) {
    whole += 1;
    rest = 0;
  }
  return `${sign}${whole} ${name}${rest > 0 ? ` ${rest} ${nextName}` : ''}`;
}

/** A share of 1 in percent. */
export function formatRatio(value: number): string {
  if (!Number.isFinite(value)) return formatSpecial(value);
  return `${threeDigits(value * 100)} %`;
}

/** Working time in minutes or hours: `45 min`, `18.5 h`. */
export function formatWork(value: number): string {
  if (!Number.isFinite(value)) return formatSpecial(value);
  return value !== 0 && Math.abs(value) < 3600 ? `${threeDigits(value / 60)} min` : `${formatShort(value / 3600)} h`;
}

/** `A` to `E`; anything between or beyond is a number. */
export function formatRating(value: number): string {
  return 'ABCDE'[value - 1] ?? formatShort(value);
}

/** A number of a unit, short enough for an axis. */
export function formatValue(value: number, unit: Unit = 'none'): string {
  if (!Number.isFinite(value)) return formatSpecial(value);
  switch (unit) {
    case 'none':
      return formatShort(value);
    case 'bytes':
      return formatBytes(value);
    case 'bytes/s':
      return `${formatBytes(value)}/s`;
    case 'seconds':
      return formatSeconds(value);
    case 'ratio':
      return formatRatio(value);
    case 'per second':
      return `${formatShort(value)}/s`;
    case 'work':
      return formatWork(value);
    case 'rating':
      return formatRating(value);
    case 'date':
      return Math.abs(value) < 8.64e12
        ? new Date(value * 1000).toISOString().slice(0, 16).replace('T', ' ')
        : formatShort(value);
  }
}

const COUNT = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** `1,234,567`. */
export function formatCount(value: number): string {
  return Number.isFinite(value) ? COUNT.format(value) : formatSpecial(value);
}

/** `1 series`, `2 series`, `3 groups`. */
export function counted(count: number, one: string, many: string): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** The unit that a query's result is probably in, by the naming rules of Prometheus; `none` where that is not clear. */
export function guessUnit(query: string): Unit {
  const text = query.replace(/"[^"]*"|'[^']*'|`[^`]*`/g, '').replace(/\b(?:by|without|on|ignoring)\s*\([^)]*\)/g, '');
  const names = [...text.matchAll(/[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\()\b/g)].map(([name]) => name);
  const metrics = names.filter(
    (name) => name.includes('_') && !/_over_time$|^(?:group_left|group_right|bool)$/.test(name),
  );
  if (/^\s*(?:count|count_values|group|absent|changes|resets|day_|hour|minute)/.test(text)) return 'none';
  const divides = /\/(?!\/)/.test(text);
  const perSecond = /\b(?:rate|irate|deriv)\s*\(/.test(text);
  const units = new Set(metrics.map((name) => unitOf(name, perSecond)));
  if (units.size !== 1) return 'none';
  const [unit = 'none'] = units;
  if (!divides) return unit;
  // A quotient of two of a kind is a plain number; of a sum of seconds and a count it is still seconds.
  return unit === 'bytes' && metrics.length === 1
    ? 'none'
    : metrics.length > 1 && metrics.every((name) => unitOf(name, perSecond) === unit) && unit !== 'none'
      ? 'ratio'
      : 'none';
}

function unitOf(metric: string, perSecond: boolean): Unit {
  const name = metric.replace(/_(?:total|sum|bucket)$/, '');
  if (
    /_(?:timestamp|time)_seconds$/.test(name) &&
    !perSecond &&
    !/_total$/.test(metric) &&
    !/_(?:sum|bucket)$/.test(metric)
  )
    return 'date';
  if (/_bytes$/.test(name)) return perSecond && !/_bucket$/.test(metric) ? 'bytes/s' : 'bytes';
  // Seconds per second is a share of time, which is as often above 1 (several cores) as below.
  if (/_seconds$/.test(name)) return perSecond && !/_bucket$/.test(metric) ? 'none' : 'seconds';
  if (/_ratio$/.test(name)) return 'ratio';
  if (/^sonar_\w*rating$/.test(name)) return perSecond ? 'none' : 'rating';
  return perSecond ? 'per second' : 'none';
}
