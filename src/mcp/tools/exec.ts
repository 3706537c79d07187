// exec: run a cell, follow one that still runs, stop it, or page through a long output.
import { z } from "zod";
import { ClocheError } from "../../shared/errors.ts";
import { DEFAULT_CHARS, MAX_CHARS } from "../render.ts";
import { defineTool, toolArguments } from "../tool.ts";
import { sessionArgument } from "./session-argument.ts";

/** Answers leave before the clients' own 60 s; what is not done by then is followed. */
const MAX_WAIT_S = 45;
/** `milliseconds` that a state which was asked for is waited for, at least. */
const DURABLE_MS = 2_000;
const MAX_TIMEOUT_S = 7 * 24 * 3600;

export const exec = defineTool({
  name: "exec",
  title: "Run Python",
  searchHint: "run python code, notebook cell, data analysis, plot, pandas, sql on files",
  description: `Runs one IPython cell in a persistent, sealed session: variables stay for later cells; magics, top-level await and !shell work; the last expression is shown; figures come back as images. No network, no host files: bring data in with load; publish(path) copies a file out. Files: /workspace (the working directory, memory), /scratch (disk), /data (loaded, read-only).
A cell longer than wait_s goes on in the background. With {cell: n} instead of code: shows its code and waits on for it, {cell: n, stop: true} ends it, {cell: n, offset: k} goes on from that character of its output.`,
  annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false },
  schema: toolArguments({
    code: z.string().max(1_000_000).optional().describe("Python to run"),
    cell: z.number().int().min(1).optional().describe("Number of an earlier cell, to follow, stop or page"),
    stop: z.boolean().optional().describe("End that cell"),
    timeout_s: z.number().positive().max(MAX_TIMEOUT_S).optional().describe("End the cell after this long"),
    wait_s: z
      .number()
      .min(0)
      .max(MAX_WAIT_S)
      .default(MAX_WAIT_S)
      .describe("Answer after this long even if it still runs"),
    durable: z.boolean().optional().describe("Answer once what the cell did is on disk"),
    offset: z.number().int().min(0).optional().describe("First character of output to show"),
    max_chars: z.number().int().min(100).max(MAX_CHARS).default(DEFAULT_CHARS),
    session: sessionArgument,
  }),
  async handle(args, { sessions, signal, progress }, response) {
    const mistake = contradiction(args);
    if (mistake) throw new ClocheError("input.invalid", { message: mistake });
    const session = args.code === undefined ? sessions.findKnown(args.session) : sessions.find(args.session);
    const waiting = { waitMs: args.wait_s * 1_000, signal, ...(progress ? { onProgress: progress } : {}) };
    const started = performance.now();
    const view =
      args.code !== undefined
        ? await session.exec(args.code, {
            ...waiting,
            ...(args.timeout_s === undefined ? {} : { timeoutMs: args.timeout_s * 1_000 }),
          })
        : args.stop
          ? await session.stop(args.cell!)
          : await session.follow(args.cell!, {
              ...waiting,
              ...(args.offset === undefined ? {} : { until: args.offset + args.max_chars }),
            });
    if (args.durable && view.status !== "running") {
      const left = waiting.waitMs - (performance.now() - started);
      const missing = await session.demandDurable(view.cell, Math.max(left, DURABLE_MS));
      if (missing) response.note(missing);
    }
    for (const note of session.takeNotes()) response.note(note);
    response.showCell({
      view,
      showCode: args.code === undefined && args.offset === undefined,
      offset: args.offset,
      maxChars: args.max_chars,
    });
  },
});

interface ExecArguments {
  code?: string | undefined;
  cell?: number | undefined;
  stop?: boolean | undefined;
  timeout_s?: number | undefined;
  offset?: number | undefined;
}

function contradiction({ code, cell, stop, timeout_s, offset }: ExecArguments): string | undefined {
  if (code === undefined && cell === undefined) return "exec needs code to run, or the number of a cell";
  if (code !== undefined && cell !== undefined) return "exec takes either code or cell, not both";
  if (code === undefined && timeout_s !== undefined)
    return "timeout_s goes with code; stop ends a running cell";
  if (code !== undefined && (stop !== undefined || offset !== undefined))
    return "stop and offset go with cell";
  return undefined;
}
