// One cell from its start to its end: its output, how it is going, how it can be ended.
import type { CellListener, CellOutcome, RunningCell } from "../kernel/channel.ts";
import { type Deferred, deferred } from "../shared/async.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import { printable } from "../shared/printable.ts";
import type { CellKind, CellStatus } from "../snapshots/store.ts";
import { cleanText } from "./clean-text.ts";
import { OutputLog, type PlacedImage } from "./output-log.ts";

/** A cell as a caller sees it, running or ended. */
export interface CellView {
  cell: number;
  kind: CellKind;
  /** what it runs; for a load, what it brings */
  code: string;
  status: CellStatus;
  /** clean output so far, with the gap marked */
  text: string;
  /** characters of `text` that stay as and where they are: whole lines of output */
  settled: number;
  images: PlacedImage[];
  /** `bytes` of output that were dropped from its middle */
  dropped: number;
  /** images beyond the first five, which were not sent */
  imagesLeftOut: number;
  /** text of what the cell raised, or of why it was lost */
  error: string | undefined;
  /** `milliseconds` it has run */
  duration: number;
  /** values it made may not be keepable */
  suspect: boolean;
  /** values it made that cannot be kept: each with the reason */
  unkept?: string[];
  /** where it is, for one that still runs */
  line?: string;
  /** why Cloche could not run it, or could not bring what it was to bring */
  refused?: ClocheError;
}

/** What a cell does: given how to listen, it starts and says how it ends. */
export type CellWork = (cell: Cell) => Promise<CellOutcome>;

/** Begins a line of the host's in a cell's text, and stands nowhere else in it: clean text has no controls. */
export const HOST_LINE = "\x1e";
/** Lines of the host's shown one by one; the rest is counted. */
const MOST_SAID = 20;

const STOPPED = {
  message: "it was stopped before its code began, while the session was starting or files were copied",
  hint: "Nothing in the session was changed.",
};

export class Cell {
  readonly number: number;
  readonly kind: CellKind;
  readonly code: string;
  readonly log = new OutputLog();
  readonly listener: CellListener;
  /** resolves when it ended, whatever the end */
  readonly done: Promise<CellView>;
  /** fires when somebody wants it to end */
  readonly stopping = new AbortController();
  private readonly ended: Deferred<CellView> = deferred();
  private readonly started = performance.now();
  private finished: { outcome: CellOutcome; duration: number; refused?: ClocheError } | undefined;
  private kernelCell: RunningCell | undefined;
  private readonly said: string[] = [];

  constructor(number: number, kind: CellKind, code: string) {
    this.number = number;
    this.kind = kind;
    this.code = code;
    this.done = this.ended.promise;
    this.listener = {
      output: (chunk) => this.log.write(chunk),
      dropped: (bytes) => this.log.drop(bytes),
      progress: (line) => this.log.progress(line),
      imagePlaced: (id) => this.log.placeImage(id),
      image: (id, mime, data) => this.log.image(id, mime, data),
    };
  }

  /** Runs `work`; `done` resolves with what came of it. Never throws. */
  async run(work: CellWork): Promise<void> {
    let outcome: CellOutcome;
    let refused: ClocheError | undefined;
    try {
      outcome = await work(this);
    } catch (thrown) {
      refused = asClocheError(thrown);
      const status = this.stopping.signal.aborted ? "interrupted" : "error";
      outcome = { status, end: { error: refused.sentence, errorName: refused.code } };
    }
    this.finished = { outcome, duration: performance.now() - this.started, ...(refused ? { refused } : {}) };
    this.ended.resolve(this.view());
  }

  /** Tells where its kernel side is, once it has one. */
  attach(running: RunningCell): Promise<CellOutcome> {
    this.kernelCell = running;
    if (this.stopping.signal.aborted) running.interrupt();
    return running.outcome;
  }

  /** It runs in the kernel, and what becomes of it is the kernel's to say. */
  get attached(): boolean {
    return this.kernelCell !== undefined;
  }

  /** Adds a line of the host's, about what it did for this cell: it stands below the output, where nothing cuts it. */
  say(line: string): void {
    this.said.push(line);
  }

  /** Asks it to end: an abort for what runs on the host, SIGINT for what runs in the kernel. */
  interrupt(): void {
    if (!this.stopping.signal.aborted) this.stopping.abort(new ClocheError("cancelled", STOPPED));
    this.kernelCell?.interrupt();
  }

  get running(): boolean {
    return this.finished === undefined;
  }

  /** `milliseconds` since it began */
  get age(): number {
    return this.finished?.duration ?? performance.now() - this.started;
  }

  view(): CellView {
    const { text, images, dropped, gap } = this.log.snapshot();
    const below = [...this.saidLines(), ...(this.running ? [this.log.heldLine] : [])]
      .filter(Boolean)
      .join("\n");
    const outcome = this.finished?.outcome;
    const end = outcome && outcome.status !== "lost" ? outcome.end : {};
    const error = outcome?.status === "lost" ? outcome.reason : end.error;
    return {
      cell: this.number,
      kind: this.kind,
      status: outcome?.status ?? "running",
      code: this.code,
      text: below && text && !text.endsWith("\n") ? `${text}\n${below}` : text + below,
      settled: gap ? 0 : text.lastIndexOf("\n") + 1,
      images,
      dropped,
      imagesLeftOut: end.imagesLeftOut ?? 0,
      error: error === undefined ? undefined : cleanText(error),
      duration: this.age,
      suspect: end.suspect ?? false,
      ...(this.finished?.refused ? { refused: this.finished.refused } : {}),
    };
  }

  private saidLines(): string[] {
    const more = this.said.length - MOST_SAID;
    const shown = more > 0 ? [...this.said.slice(0, MOST_SAID), `… and ${more} more`] : this.said;
    return shown.map((line) => HOST_LINE + line);
  }

  /** The line it is at, in words; empty where nothing can be said. */
  async position(): Promise<string> {
    const stack = await this.kernelCell?.stack().catch(() => "");
    return stack ? printable(describeStack(stack)) : "";
  }
}

/** The user's innermost line out of faulthandler's dump (most recent call first). */
export function describeStack(stack: string): string {
  const frames = [...stack.matchAll(/^ {2}File "([^"]+)", line (\d+) in (.+)$/gm)];
  const own = frames.find((frame) => /^<cell|^\/(workspace|tmp|scratch)\//.test(frame[1]!));
  const inner = frames[0];
  if (!own) return "";
  const at = `${own[1]!.replace(/^<|>$/g, "")}, line ${own[2]}`;
  return inner && inner !== own
    ? `${at} (in ${inner[3]} of ${inner[1]!.split("/").slice(-2).join("/")})`
    : at;
}
