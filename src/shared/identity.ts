// Whether files are still the ones they were: anybody may remove or replace what lies on the disk of a running server.
import { statSync } from "node:fs";

/** Remembers what lies at `paths` now; the function it gives names the first that is gone or another one since. */
export function rememberFiles(paths: readonly string[]): () => string | undefined {
  const before = paths.map(identity);
  return () => paths.find((path, index) => identity(path) !== before[index]);
}

function identity(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
