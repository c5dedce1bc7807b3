// What the server tells by itself. One stream, only while the page is seen: browsers allow six connections in all.

import { EventParser } from '../core/events';
import { send } from './client';

export interface StoreEvent {
  readonly series: number;
  readonly samples_written: number;
  readonly samples_pushed: number;
  readonly push_groups: number;
  readonly log_bytes: number;
  readonly window_files: number;
  readonly window_file_bytes: number;
  readonly damaged: number;
}

export interface Job {
  readonly id: number;
  readonly kind: string;
  readonly title: string;
  readonly state: 'running' | 'done' | 'failed' | 'cancelled' | 'interrupted';
  readonly progress: { readonly done: number; readonly total: number; readonly unit: string };
  readonly message: string;
  readonly started_ms: number;
  readonly updated_ms: number;
  readonly estimate_ms: number | null;
}

const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;

class Live {
  connected = $state(false);
  /** The stream was up once and is not now. */
  lost = $state(false);
  store = $state.raw<StoreEvent | undefined>(undefined);
  /** Changed jobs, by their id. */
  jobs = $state.raw<ReadonlyMap<number, Job>>(new Map());
  private stop: AbortController | undefined;
  private retryMs = RETRY_MS_MIN;

  /** Listens whenever the page is seen. */
  start(): void {
    document.addEventListener('visibilitychange', () => (document.hidden ? this.stop?.abort() : void this.listen()));
    void this.listen();
  }

  private async listen(): Promise<void> {
    if (document.hidden || (this.stop && !this.stop.signal.aborted)) return;
    const stop = new AbortController();
    this.stop = stop;
    try {
      await this.read(stop.signal);
    } catch {
      // Said by `lost`; the next try follows.
    }
    this.connected = false;
    // Left on purpose: whoever comes back listens anew.
    if (stop.signal.aborted) return;
    stop.abort();
    this.lost = true;
    setTimeout(() => void this.listen(), this.retryMs);
    this.retryMs = Math.min(this.retryMs * 2, RETRY_MS_MAX);
  }

  private async read(signal: AbortSignal): Promise<void> {
    const response = await send('api/v1/events', { signal, headers: { Accept: 'text/event-stream' } });
    if (!response.ok || !response.body) throw new Error(`the stream of events answered ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser();
    this.connected = true;
    this.lost = false;
    this.retryMs = RETRY_MS_MIN;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      for (const event of parser.push(value)) this.take(event.name, event.data);
    }
  }

  private take(name: string, data: string): void {
    const value: unknown = JSON.parse(data);
    if (name === 'store') this.store = value as StoreEvent;
    if (name === 'job') {
      const job = value as Job;
      this.jobs = new Map(this.jobs).set(job.id, job);
    }
  }
}

export const live = new Live();
