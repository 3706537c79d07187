// What the projects below a state directory keep of their sessions, on disk.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";

/** `bytes` of all packs. */
export function packedBytes(state: string): number {
  return filesOf(state, ".pack").reduce((sum, path) => sum + statSync(path).blocks * 512, 0);
}

/** `bytes` of all packs, and of the records' pages that are in use. */
export function keptBytes(state: string): number {
  return filesOf(state, "cloche.sqlite").reduce((sum, path) => sum + pagesInUse(path), packedBytes(state));
}

function pagesInUse(path: string): number {
  const database = new Database(path, { readonly: true });
  try {
    const [pages, free, size] = ["page_count", "freelist_count", "page_size"].map(
      (name) => database.pragma(name, { simple: true }) as number,
    );
    return (pages! - free!) * size!;
  } finally {
    database.close();
  }
}

function filesOf(state: string, end: string): string[] {
  return readdirSync(state, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(end))
    .map((path) => join(state, path));
}
