// Single keys: off while a text is written, and each page may add its own. Who speaks to the machine, or rests a hand on
// the keyboard, can switch them off for good.

import { PATHS, type Place } from './core/routes';
import { router } from './router.svelte';

const PAGES: Readonly<Record<string, Place>> = {
  h: 'home',
  e: 'explore',
  m: 'metrics',
  t: 'targets',
  p: 'push',
  b: 'mailbox',
  q: 'quality',
  s: 'status',
};

/** A second key must follow within this time. */
const SECOND_MS = 1_500;

const KEPT_AS = 'observatory-keys';

type Action = () => void;

class Keys {
  helping = $state(false);
  on = $state(read());
  private actions = new Map<string, Action>();
  private first = '';
  private firstAt = 0;

  constructor() {
    addEventListener('keydown', (event) => this.press(event));
  }

  /** Adds what keys such as `r` or `t z` do; gives what takes them away. */
  add(actions: Readonly<Record<string, Action>>): () => void {
    for (const [keys, action] of Object.entries(actions)) this.actions.set(keys, action);
    return () => {
      for (const [keys, action] of Object.entries(actions))
        if (this.actions.get(keys) === action) this.actions.delete(keys);
    };
  }

  /** Kept by this browser. */
  turn(on: boolean): void {
    this.on = on;
    try {
      if (on) localStorage.removeItem(KEPT_AS);
      else localStorage.setItem(KEPT_AS, 'off');
    } catch {
      // Then it lasts as long as the page.
    }
  }

  private press(event: KeyboardEvent): void {
    if (!this.on) return;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || writes(event.composedPath()[0]))
      return;
    if (document.querySelector('dialog[open]')) return;
    const pending = performance.now() - this.firstAt < SECOND_MS ? this.first : '';
    this.first = '';
    const keys = pending === '' ? event.key : `${pending} ${event.key}`;
    const page = pending === 'g' ? PAGES[event.key] : undefined;
    const action =
      this.actions.get(keys) ??
      (page && ((): void => router.go(PATHS[page]))) ??
      (keys === '?' ? (): void => void (this.helping = true) : undefined);
    if (action) {
      event.preventDefault();
      action();
    } else if (pending === '' && (event.key === 'g' || event.key === 't')) {
      this.first = event.key;
      this.firstAt = performance.now();
    }
  }
}

function read(): boolean {
  try {
    return localStorage.getItem(KEPT_AS) !== 'off';
  } catch {
    return true;
  }
}

function writes(target: EventTarget | undefined): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return (
    target.isContentEditable ||
    target instanceof HTMLTextAreaElement ||
    target instanceof HTMLSelectElement ||
    (target instanceof HTMLInputElement && !['checkbox', 'radio', 'button'].includes(target.type))
  );
}

export const keys = new Keys();
