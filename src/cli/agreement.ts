// The person's word before something is changed that cannot be changed back.
import { ClocheError } from "../shared/errors.ts";
import type { Terminal } from "./context.ts";

/** Asks, unless `yes` answers already. Throws `input.invalid` where nobody can be asked. */
export async function isAgreed(
  terminal: Terminal,
  question: string,
  yes: boolean | undefined,
): Promise<boolean> {
  const agreed = yes || (await terminal.confirm(question));
  if (agreed === undefined)
    throw new ClocheError("input.invalid", {
      message: "there is no terminal to ask at",
      hint: "Run it in a terminal, or add --yes.",
    });
  return agreed;
}
