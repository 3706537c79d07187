// vars: what the session holds, one variable in detail, or which sessions there are.
import { z } from "zod";
import type { SessionSummary } from "../../session/manager.ts";
import { amount } from "../../shared/disk-space.ts";
import { ClocheError } from "../../shared/errors.ts";
import { DEFAULT_CHARS } from "../render.ts";
import { defineTool, toolArguments } from "../tool.ts";
import { SESSION_NAME, sessionArgument } from "./session-argument.ts";

/** A look is not worth a long wait: the answer names the cell that is in the way. */
const WAIT_MS = 10_000;

export const vars = defineTool({
  name: "vars",
  title: "Look at variables",
  searchHint: "list python variables, inspect dataframe, session state, list sessions",
  description:
    'Lists the session\'s variables: type, shape, size, preview, the cell that last bound or changed each. With name, shows one in detail, paged by offset. session "*" lists the sessions.',
  annotations: { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false },
  schema: toolArguments({
    name: z.string().max(500).optional().describe("One variable"),
    offset: z.number().int().min(0).default(0),
    session: z.union([z.literal("*"), sessionArgument.unwrap()]).default("main"),
  }),
  async handle({ name, offset, session: wanted }, { sessions, signal }, response) {
    if (wanted === "*") {
      response.text(describe(sessions.list()));
      return;
    }
    if (!SESSION_NAME.test(wanted)) throw new ClocheError("input.invalid", { message: "not a session name" });
    const session = sessions.findKnown(wanted);
    const request = { offset, limit: DEFAULT_CHARS, ...(name === undefined ? {} : { name }) };
    const { ok, text } = await session.inspect(request, { waitMs: WAIT_MS, signal });
    for (const note of session.takeNotes()) response.note(note);
    if (ok) response.text(text);
    else response.fail(new ClocheError("input.invalid", { message: text, hint: "" }));
  },
});

function describe(list: SessionSummary[]): string {
  if (list.length === 0) return "No sessions yet; exec opens `main`.";
  return list
    .map(
      ({ name, state, cells, branches, bytes, lastUsedAt }) =>
        `${name}: ${state}, ${cells} ${cells === 1 ? "cell" : "cells"}${branches > 1 ? ` in ${branches} branches` : ""}, ${amount(bytes)} kept, last used ${new Date(lastUsedAt).toISOString()}`,
    )
    .join("\n");
}
