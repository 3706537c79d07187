// Waiting for a cell: passes on its last line, saves what it wrote so far, and gives up when the caller does.
import { within } from "../shared/async.ts";
import type { Cell, CellView } from "./cell.ts";

export interface WaitOptions {
  /** `milliseconds` the caller waits, queue and start included */
  waitMs: number;
  signal?: AbortSignal;
  /** told the last line of output now and then */
  onProgress?: (line: string) => void;
}

export interface WatchOptions extends WaitOptions {
  /** the call was withdrawn by a client that wants the cell to end */
  withdrawn(): void;
  /** keeps the output so far, so that it can be read again whatever happens to this process */
  save(text: string, dropped: number): void;
}

const PROGRESS_EVERY_MS = 500;
const SAVE_EVERY_MS = 5_000;

/** The cell when it ended, or as it is after `waitMs` milliseconds, with the line it is at. */
export async function watch(cell: Cell, options: WatchOptions): Promise<CellView> {
  const { waitMs, signal, onProgress, withdrawn } = options;
  let said = "";
  const tell =
    onProgress &&
    setInterval(() => {
      const line = cell.log.lastLine;
      if (line && line !== said) onProgress(line);
      said = line;
    }, PROGRESS_EVERY_MS);
  let saved = 0;
  const save = () => {
    const { text, dropped } = cell.log.snapshot();
    if (text.length === saved || !cell.running) return;
    saved = text.length;
    options.save(text, dropped);
  };
  const saving = setInterval(save, SAVE_EVERY_MS);
  const withdraw = () => {
    // A client that gave up waiting can still follow the cell; one that cancels wants it to end.
    if (!/tim(ed?|e-?) ?out/i.test(String(signal?.reason))) withdrawn();
  };
  if (signal?.aborted) withdraw();
  signal?.addEventListener("abort", withdraw, { once: true });
  try {
    const view = cell.running ? await within(cell.done, Math.max(0, waitMs), signal) : await cell.done;
    if (view) return view;
    const line = await cell.position();
    save();
    return { ...cell.view(), ...(line ? { line } : {}) };
  } finally {
    clearInterval(tell);
    clearInterval(saving);
    signal?.removeEventListener("abort", withdraw);
  }
}
