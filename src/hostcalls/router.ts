// The one door for what a sandbox asks of its host: name → schema, quota, handler, deadline, audit line.
import type { z } from "zod";
import type { CallReply, IncomingCall } from "../kernel/channel.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { HostCall } from "./host-call.ts";

export interface RouterOptions {
  calls: readonly HostCall<never>[];
  /** calls one session may have under way */
  concurrency: number;
  /** calls one session may make in one cell */
  perCell: number;
  /** `milliseconds` one call may take */
  deadline: number;
  log: Logger;
}

/** What a session is given: answers every call exactly once, and never throws. `tell` adds a line to the cell's answer. */
export type HostCallDoor = (call: IncomingCall, tell: (line: string) => void) => Promise<CallReply>;

export const DEFAULT_QUOTAS = { concurrency: 8, perCell: 1_000, deadline: 600_000 };

/** The door for one session; quotas are counted per door. */
export function openDoor(session: string, options: RouterOptions): HostCallDoor {
  const byName = new Map<string, HostCall<never>>(options.calls.map((call) => [call.name, call]));
  let underWay = 0;
  let cell = 0;
  let inCell = 0;

  return async (incoming, tell) => {
    const log = options.log.child({ session, cell: incoming.cell, call: incoming.name.slice(0, 64) });
    const started = performance.now();
    if (incoming.cell !== cell) {
      cell = incoming.cell;
      inCell = 0;
    }
    inCell++;
    underWay++;
    try {
      if (underWay > options.concurrency)
        throw new ClocheError("hostcall.quota", {
          message: `more than ${options.concurrency} host calls at once`,
        });
      if (inCell > options.perCell)
        throw new ClocheError("hostcall.quota", {
          message: `more than ${options.perCell} host calls in one cell`,
          hint: "Do more in each call, or split the work into several cells.",
        });
      const known = byName.get(incoming.name);
      if (!known)
        throw new ClocheError("hostcall.unknown", {
          message: `the host offers no call named ${printable(incoming.name)}`,
        });
      const args = parse(known.schema, incoming.args);
      const deadline = AbortSignal.timeout(options.deadline);
      const result = await known.handle(args, {
        body: incoming.body,
        signal: AbortSignal.any([incoming.signal, deadline]),
        session,
        cell: incoming.cell,
        log,
        tell,
      });
      log.info("hostcall.done", { ms: Math.round(performance.now() - started) });
      return { ok: true, result };
    } catch (thrown) {
      const error = asClocheError(thrown);
      log.warn("hostcall.failed", { code: error.code, message: error.message });
      return { ok: false, code: error.code, message: error.sentence };
    } finally {
      underWay--;
    }
  };
}

function parse(schema: z.ZodType<never>, text: string): never {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ClocheError("hostcall.refused", { message: "the arguments are not JSON", cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new ClocheError("hostcall.refused", {
    message: `the argument ${issue?.path.join(".") || "object"} is wrong: ${issue?.message}`,
  });
}

function printable(name: string): string {
  return JSON.stringify(name.slice(0, 64));
}
