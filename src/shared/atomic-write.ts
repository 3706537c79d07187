// Replaces a file so that a reader sees the old content or the new, and power loss leaves one of the two.
import { closeSync, fsyncSync, openSync, realpathSync, renameSync, rmSync, writeSync } from "node:fs";

/** Writes `text` to `path` with `mode`; a symlink at `path` stays one and its target is replaced. */
export function writeAtomically(path: string, text: string, mode: number): void {
  const target = resolved(path);
  const draft = `${target}.${process.pid}.new`;
  try {
    const file = openSync(draft, "w", mode);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, target);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
