// What a metric is good for: a first query by its type, and which labels make it large.

import type { Labels } from './result';
import { METRIC_NAME, quote } from './series';

/** A label of a metric: how many values, and the commonest of them. */
export interface LabelSummary {
  readonly name: string;
  readonly values: number;
  readonly top: readonly { readonly value: string; readonly series: number }[];
}

const TOP = 5;

/** Values of each label among the series, the label with most first. */
export function summarizeLabels(series: readonly Labels[]): LabelSummary[] {
  const counts = new Map<string, Map<string, number>>();
  for (const labels of series) {
    for (const [name, value] of Object.entries(labels)) {
      if (name === METRIC_NAME) continue;
      const values = counts.get(name) ?? new Map<string, number>();
      values.set(value, (values.get(value) ?? 0) + 1);
      counts.set(name, values);
    }
  }
  const summaries = [...counts].map(([name, values]) => ({
    name,
    values: values.size,
    top: [...values]
      .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
      .slice(0, TOP)
      .map(([value, series]) => ({ value, series })),
  }));
  return summaries.sort((a, b) => b.values - a.values || (a.name < b.name ? -1 : 1));
}

/** The family of a series' name: histograms and summaries have several names. */
export function familyNames(name: string): string[] {
  const base = name.replace(/_(?:bucket|count|sum|total|created|info)$/, '');
  return base === name ? [name] : [name, base];
}

/** A name as a selector: names beyond the old alphabet stand in braces. */
export function metricSelector(name: string): string {
  return /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name) ? name : `{${quote(name)}}`;
}

/** What one would ask first about a metric of this type. */
export function firstQuery(name: string, type: string): string {
  const selector = metricSelector(name);
  if (name.endsWith('_bucket') && type === 'histogram')
    return `histogram_quantile(0.95, sum by (le) (rate(${selector}[5m])))`;
  const counts = type === 'counter' || ((type === 'histogram' || type === 'summary') && /_(?:count|sum)$/.test(name));
  return counts || (type === '' && name.endsWith('_total')) ? `rate(${selector}[5m])` : selector;
}
