// The one error type of Cloche's own failures: a code for programs, a sentence and a hint for the reader.
// What the user's Python raised is a result and never becomes one of these.

/** Every code, with what the reader should do when the thrower knows nothing better. */
const HINTS = {
  "config.invalid": "Correct what is named, then call again.",
  "project.untrusted": "Run `cloche trust` in the project to accept what its .cloche.json asks for.",
  "sandbox.unavailable": "Run `cloche doctor` to see what is missing and how to add it.",
  "sandbox.unsealed": "Nothing was run. Run `cloche doctor` for the details.",
  "sandbox.start_failed": "Run `cloche doctor`; `cloche logs` has the details.",
  "sandbox.lost": "The next call starts a fresh sandbox.",
  "wire.too_large": "Split the work into smaller cells, or bring data in with load.",
  "wire.violation": "This session was ended; the next call starts a fresh one.",
  "wire.closed": "The next call starts a fresh sandbox.",
  "state.unkept": "The state after the next cell is tried whole.",
  "state.unreadable": "The session goes on as it is; reset {to} an earlier cell, or run the cells again.",
  "cell.unknown": "Cells are numbered from 1 in each session.",
  "cell.busy": "Follow it with exec {cell}, or end it with exec {cell, stop: true}.",
  "input.invalid": "Correct the argument and call again.",
  "session.limit": "Reset or end a session you no longer need.",
  "load.refused": "Only files in the project directory and configured roots can be loaded.",
  "load.not_found": "Check the path; relative paths start at the project directory.",
  "load.unreadable": "Name the format with `format`, or load it as text.",
  "load.too_large": "Free disk space, or load a part of it.",
  "publish.refused": "Publish a regular file from /workspace, /tmp or /scratch under a plain name.",
  "publish.exists": "Publish it under another name.",
  "hostcall.unknown": "See help(cloche) for what the host offers.",
  "hostcall.refused": "See help(cloche) for what the host offers.",
  "hostcall.quota": "Wait for the calls under way, or do more in each.",
  "store.damaged": "Run `cloche doctor`.",
  "store.readonly": "Make the state directory yours and writable, or set XDG_STATE_HOME to one that is.",
  "store.newer":
    "Update Cloche (run its setup.sh again), or run `cloche forget` to start this project afresh.",
  "store.busy": "Another Cloche server on this project is stuck; end it and try again.",
  "store.full": "Free disk space, or run `cloche forget` for projects you no longer need.",
  timeout: "Try again, or do it in smaller steps.",
  cancelled: "The caller withdrew the call.",
  internal: "This is a bug in Cloche; `cloche logs` has the details.",
} as const satisfies Record<string, string>;

export type ErrorCode = keyof typeof HINTS;

export interface ErrorOptions {
  /** what happened, one clause, no full stop */
  message: string;
  /** what the reader can do; the code's own hint when absent */
  hint?: string;
  /** typed facts for programs and the log */
  data?: Record<string, unknown>;
  cause?: unknown;
}

export class ClocheError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly data: Record<string, unknown>;

  constructor(code: ErrorCode, options: ErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ClocheError";
    this.code = code;
    this.hint = options.hint ?? HINTS[code];
    this.data = options.data ?? {};
  }

  /** The sentence a person or a model reads. */
  get sentence(): string {
    const stop = /[.!?]$/.test(this.message) ? "" : ".";
    return `${this.message}${stop} ${this.hint}`;
  }
}

/** Any thrown value as a ClocheError; a foreign one becomes `internal` and keeps its cause. */
export function asClocheError(thrown: unknown): ClocheError {
  if (thrown instanceof ClocheError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ClocheError("internal", {
    message: `something failed inside Cloche (${message})`,
    cause: thrown,
  });
}
