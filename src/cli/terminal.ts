// The person's terminal: plain lines out, one question in.
import { createInterface } from "node:readline/promises";
import type { Terminal } from "./context.ts";

export function processTerminal(): Terminal {
  let printing = false;
  return {
    print: (text) => {
      // A reader that has seen enough, such as `head`, is no failure. A server, which prints nothing, ends its own way.
      if (!printing)
        process.stdout.on("error", (error: NodeJS.ErrnoException) =>
          process.exit(error.code === "EPIPE" ? 0 : 1),
        );
      printing = true;
      process.stdout.write(`${text}\n`);
    },
    complain: (text) => void process.stderr.write(`${text}\n`),
    exitWith: (code) => {
      process.exitCode = code;
    },
    async confirm(question) {
      if (!process.stdin.isTTY) return undefined;
      const lines = createInterface({ input: process.stdin, output: process.stderr });
      try {
        return /^\s*y(es)?\s*$/i.test(await lines.question(`${question} [y/N] `));
      } catch {
        return false;
      } finally {
        lines.close();
      }
    },
  };
}
