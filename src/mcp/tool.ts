// What a tool is: a name, a strict schema, and a handler that writes to a response. Validation and rendering are elsewhere.
import { z } from "zod";
import type { SessionManager } from "../session/manager.ts";
import { printable } from "../shared/printable.ts";
import { withoutImitations } from "./imitations.ts";
import type { Response } from "./render.ts";

/** Only what tools use. */
export interface ToolContext {
  sessions: SessionManager;
  /** fires when the caller withdraws the call, with the caller's reason */
  signal: AbortSignal;
  /** passes on one line of progress, where the caller asked for it */
  progress: ((line: string) => void) | undefined;
}

export interface Tool {
  name: string;
  title: string;
  description: string;
  schema: z.ZodObject;
  annotations: {
    readOnlyHint: boolean;
    destructiveHint: boolean;
    idempotentHint: boolean;
    openWorldHint: false;
  };
  /** words a client's tool search may look for */
  searchHint: string;
  handle(args: never, context: ToolContext, response: Response): Promise<void>;
}

/** A tool whose handler's arguments have the type of its schema. */
export function defineTool<Schema extends z.ZodObject>(
  tool: Omit<Tool, "handle" | "schema"> & {
    schema: Schema;
    handle(args: z.infer<Schema>, context: ToolContext, response: Response): Promise<void>;
  },
): Tool {
  return tool;
}

/** A tool's arguments, and no others: a name that is none is refused with those there are. */
export function toolArguments<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `there is no argument ${withoutImitations(printable(JSON.stringify(issue.keys[0]), 60))}, only ${Object.keys(shape).join(", ")}`
        : undefined,
  });
}
