// What a kernel is asked between two cells: a look at its variables, or to become what a state says. They end with it.
import { z } from "zod";
import { type Deferred, deferred } from "../shared/async.ts";
import { ClocheError } from "../shared/errors.ts";
import { violation } from "./framing.ts";
import type { Received } from "./transport.ts";

type Look = "inspect" | "restore";

export interface LooksOptions {
  ask(type: Look, request: Buffer, deadlineMs: number, what: string): Promise<Received>;
  /** the kernel broke the protocol */
  broken(reason: ClocheError): void;
}

/** What a kernel answers that can say no more than words. */
export const textual = z.strictObject({ text: z.string() });

export class Looks {
  private readonly options: LooksOptions;
  private readonly open = new Set<Deferred<never>>();

  constructor(options: LooksOptions) {
    this.options = options;
  }

  /** Throws `timeout`, `sandbox.lost` where the kernel ends meanwhile, and `wire.violation`. */
  async look<Shape extends z.ZodType>(
    type: Look,
    request: Buffer,
    shape: Shape,
    deadlineMs: number,
    what: string,
  ): Promise<{ ok: true; value: z.infer<Shape> } | { ok: false; text: string }> {
    const lost = deferred<never>();
    this.open.add(lost);
    const asked = this.options.ask(type, request, deadlineMs, what);
    const { message, payload } = await Promise.race([asked, lost.promise]).finally(() => {
      this.open.delete(lost);
      asked.catch(() => {});
    });
    try {
      const found: unknown = JSON.parse(payload.toString("utf8"));
      return message.type === "answer" && message.ok
        ? { ok: true, value: shape.parse(found) }
        : { ok: false, text: textual.parse(found).text };
    } catch (cause) {
      const reason = violation("an answer that is not one", cause);
      this.options.broken(reason);
      throw reason;
    }
  }

  /** The kernel ended for `reason`, and answers nothing of this any more. */
  lose(reason: string): void {
    for (const look of this.open)
      look.reject(
        new ClocheError("sandbox.lost", { message: `the kernel ended while it was looked at: ${reason}` }),
      );
  }
}
