// Which directories may be roots: existing ones, named plainly, and none so wide that it holds a person's secrets.
import { realpathSync, statSync } from "node:fs";
import { isAbsolute, join, relative, resolve } from "node:path";
import { ClocheError } from "../shared/errors.ts";
import { printable } from "../shared/printable.ts";

export interface ResolvedRoots {
  /** real paths */
  roots: string[];
  /** one sentence for each root that does not exist now */
  warnings: string[];
}

/**
 * The real paths of `given`. Relative ones start at `base`, where there is one. Throws `config.invalid` for a pattern,
 * for the file system's root, for the home directory or anything above it, and for system directories.
 */
export function resolveRoots(
  given: readonly string[],
  label: string,
  home: string,
  base?: string,
): ResolvedRoots {
  const resolved: ResolvedRoots = { roots: [], warnings: [] };
  for (const root of given) {
    const refuse = (why: string, hint: string) =>
      new ClocheError("config.invalid", {
        message: `${label}: the root "${printable(root)}" ${why}`,
        hint,
      });
    if (/[*?]/.test(root))
      throw refuse("is a pattern", "Name the directory itself; everything below it can be loaded.");
    const expanded = root === "~" || root.startsWith("~/") ? join(home, root.slice(1)) : root;
    if (!isAbsolute(expanded) && base === undefined)
      throw refuse("is not absolute", "Write the whole path, or start it with ~/.");
    let real: string;
    try {
      real = realpathSync(resolve(base ?? "/", expanded));
      if (!statSync(real).isDirectory())
        throw refuse("is not a directory", "Name the directory that holds the files.");
    } catch (failure) {
      if (failure instanceof ClocheError) throw failure;
      resolved.warnings.push(
        `${label} names the root ${root}, which does not exist or cannot be read: ignored.`,
      );
      continue;
    }
    if (isWithin(home, real)) {
      const what = real === "/" ? "is the whole file system" : "holds your whole home directory";
      throw refuse(what, "Name the directories in it that hold data.");
    }
    if (["/proc", "/sys", "/dev", "/etc"].some((system) => isWithin(real, system)))
      throw refuse("is a system directory", "Name a directory that holds data.");
    if (!resolved.roots.includes(real)) resolved.roots.push(real);
  }
  return resolved;
}

/** Is `path` the directory `directory` or below it? Both absolute and real. */
export function isWithin(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === "" || (way !== ".." && !way.startsWith("../") && !isAbsolute(way));
}
