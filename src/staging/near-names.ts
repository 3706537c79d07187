// What a person may have meant by a path that does not exist: close names beside it, else the same name elsewhere.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { editDistance } from "../shared/nearest.ts";
import type { Access } from "./access.ts";
import { foldCase } from "./denylist.ts";
import { label } from "./label.ts";

/** Names compared beside the missing one, and entries looked at when searching elsewhere. */
const MAX_ENTRIES = 2_000;
const MAX_DEPTH = 4;
const SHOWN = 3;

/**
 * A hint for `missing`, which the real directory `existing` does not hold; `name` is the last component asked for.
 * Hidden and denied names are never suggested.
 */
export async function nearNames(
  access: Access,
  existing: string,
  missing: string,
  name: string,
): Promise<string> {
  const beside = await visible(access, existing);
  const close = rank(missing, beside).map((candidate) => join(existing, candidate));
  const found = close.length > 0 ? close : await elsewhere(access, name);
  if (found.length > 0)
    return `Did you mean ${found.map((path) => label(access.asWritten(path))).join(" or ")}?`;
  const start = "Relative paths start at the project directory.";
  if (beside.length === 0) return start;
  const some = beside.slice(0, SHOWN).map(label).join(", ") + (beside.length > SHOWN ? ", …" : "");
  const place = existing === access.project ? "It" : label(access.asWritten(existing));
  return `${start} ${place} holds ${some}.`;
}

async function visible(access: Access, directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => []);
  return names
    .slice(0, MAX_ENTRIES)
    .filter((name) => !name.startsWith(".") && !access.denied(join(directory, name)))
    .sort();
}

/** The closest names first; none that shares too little to be meant. */
function rank(wanted: string, names: string[]): string[] {
  const goal = foldCase(wanted).slice(0, 100);
  const stem = stemOf(goal);
  const limit = Math.max(2, Math.floor(goal.length / 3)) + 1;
  return names
    .map((name) => {
      const candidate = foldCase(name).slice(0, 100);
      const far = editDistance(goal, candidate, limit);
      if (stem.length > 2 && stemOf(candidate) === stem) return { name, score: Math.min(far, 1) };
      if (stem.length > 2 && candidate.includes(stem)) return { name, score: Math.min(far, 2) };
      return { name, score: far };
    })
    .filter(({ score }) => score < limit)
    .sort((a, b) => a.score - b.score || (a.name < b.name ? -1 : 1))
    .slice(0, SHOWN)
    .map(({ name }) => name);
}

function stemOf(name: string): string {
  return name.replace(/\.[^.]*$/, "");
}

/** Files of exactly this name (in any letter case) a few levels down in the project and the roots. */
async function elsewhere(access: Access, name: string): Promise<string[]> {
  const wanted = foldCase(name);
  const found: string[] = [];
  let left = MAX_ENTRIES;
  let level: string[] = [...access.roots()];
  for (let depth = 0; depth < MAX_DEPTH && left > 0; depth++) {
    const below: string[] = [];
    for (const directory of level) {
      const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
      left -= entries.length;
      for (const entry of entries) {
        const path = join(directory, entry.name);
        if (entry.name.startsWith(".") || entry.name === "node_modules" || access.denied(path)) continue;
        if (entry.isDirectory()) below.push(path);
        else if (foldCase(entry.name) === wanted) found.push(path);
      }
      if (left <= 0 || found.length >= SHOWN) return found.slice(0, SHOWN);
    }
    level = below;
  }
  return found;
}
