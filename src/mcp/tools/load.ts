// load: host data into the session, without its content passing through the conversation.
import { z } from "zod";
import { DEFAULT_CHARS } from "../render.ts";
import { defineTool, toolArguments } from "../tool.ts";
import { sessionArgument } from "./session-argument.ts";

const WAIT_MS = 45_000;
const MAX_TEXT = 5_000_000;
/** The readers in the sandbox, each by one of its names. */
const FORMATS =
  "csv, tsv, json, jsonl, parquet, feather, arrow, xlsx, sqlite, duckdb, text, markdown, html, pdf, zip, tar, npy, npz, image or bytes";

export const load = defineTool({
  name: "load",
  title: "Load files",
  searchHint: "open csv, parquet, excel, json, pdf, sqlite, read large file, import data",
  description: `Brings files of any size from the project into the session as a variable, and answers with a profile (rows, columns, types, nulls, ranges, samples) instead of the content. Tables become a DataFrame (or, when too large for memory, a DuckDB relation to query), text a str, databases, archives and directories a mapping. A variable of that name is replaced. A long load goes on as a cell: follow it with exec {cell}.`,
  annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: false },
  schema: toolArguments({
    path: z
      .string()
      .min(1)
      .max(4_096)
      .optional()
      .describe(
        "File, directory or glob: relative to the project, or absolute within it or a configured root",
      ),
    paths: z.array(z.string().min(1).max(4_096)).min(1).max(1_000).optional(),
    text: z.string().max(MAX_TEXT).optional().describe("Text itself, in place of a file"),
    name: z.string().max(100).optional().describe("Variable to bind; by default made from the file name"),
    format: z.string().max(40).optional().describe(`${FORMATS}; by default detected`),
    session: sessionArgument,
  }),
  async handle({ session: wanted, ...request }, { sessions, signal, progress }, response) {
    const session = sessions.find(wanted);
    const view = await session.load(request, {
      waitMs: WAIT_MS,
      signal,
      ...(progress ? { onProgress: progress } : {}),
    });
    for (const note of session.takeNotes()) response.note(note);
    response.showCell({ view, maxChars: DEFAULT_CHARS });
  },
});
