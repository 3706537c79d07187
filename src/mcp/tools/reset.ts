// reset: start a session over.
import { defineTool, toolArguments } from "../tool.ts";
import { sessionArgument } from "./session-argument.ts";

export const reset = defineTool({
  name: "reset",
  title: "Start the session over",
  searchHint: "restart python kernel, clear variables",
  description:
    "Clears the session: variables, running cell, files in /workspace, loaded data. Cell numbers go on; outputs of earlier cells can still be read with exec {cell}.",
  annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: false },
  schema: toolArguments({ session: sessionArgument }),
  async handle({ session: name }, { sessions }, response) {
    const session = sessions.findKnown(name);
    const notes = session.takeNotes();
    const { stopped } = await session.reset();
    for (const note of notes) response.note(note);
    response.text(
      `Session ${session.name} is empty.${stopped === undefined ? "" : ` Cell ${stopped}, which was running, was ended.`}`,
    );
  },
});
