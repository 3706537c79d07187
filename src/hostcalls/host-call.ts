// What a host call is: a name, the schema of its arguments, and what the host does when a cell makes it.
import type { z } from "zod";
import type { Logger } from "../shared/log.ts";

export interface HostCallContext {
  /** bytes that travel with the call, read as they come; undefined where the call has none */
  body: AsyncIterable<Buffer> | undefined;
  /** fires when the cell or its session ends, or the call took too long */
  signal: AbortSignal;
  session: string;
  /** number of the cell that calls */
  cell: number;
  log: Logger;
  /** adds a line to the cell's answer that the cell cannot write, leave out or cut */
  tell(line: string): void;
}

export interface HostCall<A> {
  name: string;
  schema: z.ZodType<A>;
  /** Resolves with what goes back as JSON; a ClocheError becomes the error that the cell sees. */
  handle(args: A, context: HostCallContext): Promise<unknown>;
}

/** A host call among others: only the router, which parses with its own schema, may call `handle`. */
export function defineHostCall<A>(call: HostCall<A>): HostCall<never> {
  return call as unknown as HostCall<never>;
}
