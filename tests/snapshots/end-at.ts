// Runs work on a store in a process of its own that ends itself with SIGKILL at the named step.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** Resolves once the process was killed; `nth` is the time at which it comes to that step. Throws where it never did. */
export async function endAt(directory: string, work: string, step: string, nth = 1): Promise<void> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, "worker.ts"), directory, work, step, String(nth)],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      said += chunk;
    });
  const [, signal] = await once(child, "close");
  if (signal !== "SIGKILL") throw new Error(`it did not come to ${step} a ${nth}th time: ${said}`);
}
