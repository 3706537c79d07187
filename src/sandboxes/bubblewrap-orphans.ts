// Sandboxes of a server that was killed in the moment they were made: bubblewrap ties its first process to its own life
// only once that runs, so that one which is left before then waits forever. Nothing of a session was ever in it.
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";

/** Ends those below the staging directory `run` whose owner is dead; returns how many. Others' owners nobody knows here. */
export function endOrphans(run: string, isAlive: (owner: string) => boolean): number {
  let ended = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      if (basename(args[0] ?? "") !== "bwrap") continue;
      const staging = args[args.indexOf("/cloche") - 1];
      if (
        staging === undefined ||
        dirname(staging) !== run ||
        isAlive(readFileSync(`${staging}.owner`, "utf8"))
      )
        continue;
      process.kill(Number(pid), "SIGKILL");
      ended += 1;
    } catch {
      // It ended by itself, or is another's.
    }
  }
  return ended;
}
