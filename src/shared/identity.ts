// Whether files are still the ones they were: anybody may remove or replace what lies on the disk of a running server.
import { statSync } from "node:fs";

/** `milliseconds` for which a look holds: calls that come one upon the other need not ask the disk each time. */
const LOOK_HOLDS_MS = 50;

/** Remembers what lies at `paths` now; the function it gives names the first that is gone or another one since. */
export function rememberFiles(paths: readonly string[]): () => string | undefined {
  const before = paths.map(identity);
  let lookedAt = Number.NEGATIVE_INFINITY;
  return () => {
    const now = performance.now();
    if (now - lookedAt < LOOK_HOLDS_MS) return undefined;
    const gone = paths.find((path, index) => identity(path) !== before[index]);
    if (gone === undefined) lookedAt = now;
    return gone;
  };
}

function identity(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
