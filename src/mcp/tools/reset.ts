// reset: start a session over, go back to an earlier cell, or open that state beside it.
import { z } from "zod";
import { ClocheError } from "../../shared/errors.ts";
import { defineTool, toolArguments } from "../tool.ts";
import { sessionArgument, sessionName } from "./session-argument.ts";

export const reset = defineTool({
  name: "reset",
  title: "Start over or go back",
  searchHint: "restart python kernel, clear variables, undo, go back to an earlier cell, fork the session",
  description:
    "Clears the session: variables, running cell, files in /workspace, loaded data. {to: n} instead puts all of that back as it was after cell n, any earlier one; {to: n, into: name} opens that state as a new session and leaves this one alone. Cell numbers go on; exec {cell} still reads earlier outputs.",
  annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: false },
  schema: toolArguments({
    to: z.number().int().min(1).optional().describe("Cell to go back to"),
    into: sessionName.optional().describe("New session for that state"),
    session: sessionArgument,
  }),
  async handle({ session: name, to, into }, { sessions }, response) {
    if (into !== undefined && to === undefined)
      throw new ClocheError("input.invalid", { message: "into goes with to: the cell to start from" });
    const session = sessions.findKnown(name);
    if (to !== undefined && into !== undefined) {
      const made = await sessions.fork(session, to, into);
      response.text(`Session ${made.name} starts as ${session.name} was after cell ${to}.`);
      return;
    }
    const notes = session.takeNotes();
    const { stopped, missing } =
      to === undefined ? { ...(await session.reset()), missing: [] } : await session.goTo(to);
    for (const note of [...notes, ...missing]) response.note(note);
    const ended = stopped === undefined ? "" : ` Cell ${stopped}, which was running, was ended.`;
    response.text(
      to === undefined
        ? `Session ${session.name} is empty.${ended}`
        : `Session ${session.name} is as it was after cell ${to}.${ended}`,
    );
  },
});
