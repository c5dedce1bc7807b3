// Doing something now and then, while somebody looks.

/** Runs `work` at once and then `everyMs` after each end; not while the page is hidden. Gives what stops it. */
export function poll(work: (signal: AbortSignal) => Promise<unknown>, everyMs: number): () => void {
  const stop = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running = false;
  const run = async (): Promise<void> => {
    clearTimeout(timer);
    if (running || stop.signal.aborted || document.hidden) return;
    running = true;
    try {
      await work(stop.signal);
    } catch (cause) {
      // Whoever polls shows its own errors; what ends up here came from stopping.
      if (!stop.signal.aborted) console.debug(cause);
    } finally {
      running = false;
      if (!stop.signal.aborted && everyMs > 0) timer = setTimeout(run, everyMs);
    }
  };
  const seen = (): void => void run();
  document.addEventListener('visibilitychange', seen);
  // Not within the caller: what it reads while it starts is not what it waits for.
  queueMicrotask(() => void run());
  return () => {
    stop.abort();
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', seen);
  };
}
