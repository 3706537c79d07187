// Which projects have state: each state directory names its own.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Paths } from "./paths.ts";

export interface KnownProject {
  /** real path it had */
  project: string;
  /** its state directory */
  state: string;
  /** milliseconds since the epoch of the last write to its record, or undefined when nothing ran yet */
  lastUsedAt?: number;
}

/** Every project with state, the one used last first. */
export function knownProjects({ projects }: Paths): KnownProject[] {
  if (!existsSync(projects)) return [];
  const found: KnownProject[] = [];
  for (const name of readdirSync(projects)) {
    const state = join(projects, name);
    try {
      const { project } = z
        .object({ project: z.string() })
        .parse(JSON.parse(readFileSync(join(state, "project.json"), "utf8")));
      const used = ["cloche.sqlite-wal", "cloche.sqlite"].map(
        (file) => statSync(join(state, file), { throwIfNoEntry: false })?.mtimeMs ?? 0,
      );
      const lastUsedAt = Math.max(...used);
      found.push(lastUsedAt > 0 ? { project, state, lastUsedAt } : { project, state });
    } catch {
      // Half-made or half-removed: not a project to offer.
    }
  }
  return found.sort((a, b) => (b.lastUsedAt ?? 0) - (a.lastUsedAt ?? 0));
}

/** `bytes` of everything below `directory`. */
export function sizeOf(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, size) => sum + size, 0);
}
