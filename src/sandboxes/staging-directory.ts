// The two host directories of one sandbox: staging, which it reads, and scratch, which it writes.
// They are made for the server alone; the sandbox opens them to its own user when it starts.
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ClocheError } from "../shared/errors.ts";

/** Age after which a directory without an owner's name is nobody's, in `milliseconds`: one being made is younger. */
const UNOWNED_AFTER = 60_000;
const NAME = /^[0-9a-f]{8}$/;

/** Where they lie: `run` and `scratch` of the state directory, which exist already. */
export interface StagingPlaces {
  run: string;
  scratch: string;
}

export interface StagingDirectory {
  /** eight random hex digits that name both */
  readonly name: string;
  /** `<run>/<name>`, with `data/` in it */
  readonly staging: string;
  readonly scratch: string;
  /** Removes both; idempotent. Call it once the sandbox is gone. */
  remove(): Promise<void>;
}

/** Makes both directories for `owner`. Throws `store.full` or `store.readonly`, leaving nothing. */
export function createStagingDirectory({ run, scratch }: StagingPlaces, owner: string): StagingDirectory {
  const name = randomBytes(4).toString("hex");
  const paths = [join(run, name), join(scratch, name), ownerFile(run, name)] as const;
  try {
    writeFileSync(paths[2], owner, { mode: 0o600, flag: "wx" });
    mkdirSync(paths[0], { mode: 0o700 });
    mkdirSync(join(paths[0], "data"));
    chmodSync(join(paths[0], "data"), 0o755); // whatever the umask: its parent is what keeps others out
    mkdirSync(paths[1], { mode: 0o700 });
  } catch (cause) {
    for (const path of paths) rmSync(path, { recursive: true, force: true });
    const full = ["ENOSPC", "EDQUOT"].includes((cause as NodeJS.ErrnoException).code ?? "");
    throw new ClocheError(full ? "store.full" : "store.readonly", {
      message: `a sandbox's directory in ${run} could not be made (${(cause as Error).message})`,
      cause,
    });
  }
  const remove = async () => {
    for (const path of paths) await rm(path, { recursive: true, force: true, maxRetries: 3 });
  };
  return { name, staging: paths[0], scratch: paths[1], remove };
}

function ownerFile(run: string, name: string): string {
  return join(run, `${name}.owner`);
}

/** Removes what dead owners left; resolves with how many. Call it after their sandboxes were reaped. */
export async function sweepStagingDirectories(
  { run, scratch }: StagingPlaces,
  isAlive: (owner: string) => boolean,
): Promise<number> {
  const names = new Set(
    [...readdirSync(run), ...readdirSync(scratch)].map((entry) => entry.replace(/\.owner$/, "")),
  );
  let removed = 0;
  for (const name of names) {
    if (!NAME.test(name) || !isAbandoned(run, scratch, name, isAlive)) continue;
    try {
      // The owner's file goes last, so that a sweep that was cut short is taken up again.
      for (const path of [join(run, name), join(scratch, name), ownerFile(run, name)])
        await rm(path, { recursive: true, force: true });
      removed++;
    } catch {
      // A file in it belongs to a user of the sandbox's that we may not remove; nothing else depends on it.
    }
  }
  return removed;
}

function isAbandoned(
  run: string,
  scratch: string,
  name: string,
  isAlive: (owner: string) => boolean,
): boolean {
  try {
    return !isAlive(readFileSync(ownerFile(run, name), "utf8"));
  } catch {
    const found = [join(run, name), join(scratch, name)].filter((path) => existsSync(path));
    return found.every((path) => Date.now() - statSync(path).mtimeMs > UNOWNED_AFTER);
  }
}
