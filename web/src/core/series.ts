// Series as people read them: names, what tells them apart, and a colour that stays theirs.

import type { Labels } from './result';

export const METRIC_NAME = '__name__';

const PLAIN_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const PLAIN_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** A string of PromQL. */
export function quote(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
  return `"${escaped}"`;
}

/** A label name as it stands in PromQL. */
export function quoteName(name: string): string {
  return PLAIN_LABEL.test(name) ? name : quote(name);
}

/** `name{a="1"}`, `{"odd name", a="1"}`: a selector of exactly these labels. */
export function selector(labels: Labels): string {
  const name = labels[METRIC_NAME] ?? '';
  const plain = PLAIN_METRIC.test(name);
  const matchers = labelPairs(labels).map(([label, value]) => `${quoteName(label)}=${quote(value)}`);
  if (name !== '' && !plain) matchers.unshift(quote(name));
  if (matchers.length === 0) return plain ? name : '{}';
  return `${plain ? name : ''}{${matchers.join(', ')}}`;
}

/** The labels without the metric's name, in order. */
export function labelPairs(labels: Labels): [string, string][] {
  return Object.entries(labels)
    .filter(([label]) => label !== METRIC_NAME)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** The labels that all of them have with the same value. */
export function commonLabels(all: readonly Labels[]): Labels {
  const [first = {}, ...rest] = all;
  return Object.fromEntries(
    Object.entries(first).filter(([label, value]) => rest.every((labels) => labels[label] === value)),
  );
}

/** Names for a legend: what differs. One series alone is named in full. */
export function legendNames(all: readonly Labels[]): string[] {
  if (all.length === 1) return all.map((labels) => (Object.keys(labels).length === 0 ? 'value' : selector(labels)));
  const common = commonLabels(all);
  return all.map((labels) => {
    const own = Object.fromEntries(Object.entries(labels).filter(([label]) => !(label in common)));
    const pairs = labelPairs(own);
    const name = own[METRIC_NAME] ?? '';
    if (pairs.length === 0) return name || (Object.keys(labels).length === 0 ? 'value' : selector(labels));
    // One label tells them apart: its value is enough.
    if (pairs.length === 1 && name === '') return pairs[0]?.[1] || `${pairs[0]?.[0]}=""`;
    return selector(own);
  });
}

/** Colours of series are by place in their list; beyond the last one they repeat with dashes. */
export const COLORS = 8;

/** A place among the colours for each series: by its labels, so that it keeps it when others come and go. */
export function colorSlots(all: readonly Labels[]): number[] {
  const taken = new Map<number, number>();
  const slots = new Array<number>(all.length).fill(0);
  // In the order of labels, so that the order of the answer plays no part.
  const order = all.map((labels, index) => ({
    key: JSON.stringify(labelPairs(labels)) + (labels[METRIC_NAME] ?? ''),
    index,
  }));
  order.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  if (all.length <= COLORS) {
    for (const [place, { index }] of order.entries()) slots[index] = place;
    return slots;
  }
  for (const { key, index } of order) {
    let slot = hash(key) % COLORS;
    // Every colour is used as often as the others, as far as the count allows.
    const most = Math.floor(
      (taken.size === 0 ? 0 : [...taken.values()].reduce((sum, count) => sum + count, 0)) / COLORS,
    );
    while ((taken.get(slot) ?? 0) > most) slot = (slot + 1) % COLORS;
    const rounds = taken.get(slot) ?? 0;
    taken.set(slot, rounds + 1);
    slots[index] = slot + rounds * COLORS;
  }
  return slots;
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  return value >>> 0;
}
