// The files below a directory: all of them, or those a pattern names. Hidden entries are passed by, links to
// directories are not followed, and whatever else is left out is counted by its reason.
import { readdir, realpath, stat } from "node:fs/promises";
import { ClocheError } from "../shared/errors.ts";
import type { Access } from "./access.ts";
import { expandBraces, Glob } from "./glob.ts";
import { type HostPath, label } from "./label.ts";
import { keep } from "./source-file.ts";

/** Files of one load: their names must fit in one message to the sandbox, and a person can still oversee them. */
export const MAX_FILES = 2_000;
/** Entries looked at: bounds the time a walk of a huge tree takes. */
const MAX_ENTRIES = 200_000;
const MAX_DEPTH = 40;

export interface Found {
  /** where the file lies, without links in its directory part */
  path: HostPath;
  /** relative to the directory walked */
  relative: HostPath;
}

export interface Walked {
  files: Found[];
  /** reason, in words for before a number → how many entries */
  leftOut: Map<string, number>;
}

/** Walks the real directory `base`. Throws `load.too_large` beyond the limits, or the signal's reason. */
export async function walk(
  access: Access,
  base: string,
  pattern: string | undefined,
  signal: AbortSignal,
): Promise<Walked> {
  const globs = pattern === undefined ? undefined : expandBraces(pattern).map((single) => new Glob(single));
  const hidden = globs?.some((glob) => glob.namesHidden) ?? false;
  const walked: Walked = { files: [], leftOut: new Map() };
  const leaveOut = (reason: string): void => {
    walked.leftOut.set(reason, (walked.leftOut.get(reason) ?? 0) + 1);
  };
  let entries = 0;

  const enter = async (directory: HostPath, relative: HostPath, parts: string[]): Promise<void> => {
    signal.throwIfAborted();
    const found = await readdir(directory, { withFileTypes: true, encoding: "buffer" }).catch(
      () => undefined,
    );
    if (!found) return leaveOut("directories that could not be read");
    entries += found.length;
    if (entries > MAX_ENTRIES) throw tooMany(`more than ${MAX_ENTRIES} entries were looked at`, base);
    found.sort((a, b) => Buffer.compare(a.name, b.name));
    for (const entry of found) {
      const name = keep(entry.name);
      const path = join(directory, name);
      const here = [...parts, name.toString()];
      const wanted = globs?.some((glob) => glob.matches(here)) ?? true;
      const entered = entry.isDirectory() && (globs?.some((glob) => glob.mayContain(here)) ?? true);
      if (!entered && (!wanted || entry.isDirectory())) continue;
      const denied = access.denied(path);
      if (name.toString().startsWith(".") && !hidden) leaveOut("hidden entries");
      else if (denied) leaveOut(denied.counted);
      else if (entered) {
        if (here.length < MAX_DEPTH) await enter(path, join(relative, name), here);
      } else if (entry.isFile()) walked.files.push({ path, relative: join(relative, name) });
      else if (entry.isSymbolicLink()) {
        const target = await linked(access, path);
        if ("reason" in target) leaveOut(target.reason);
        else walked.files.push({ path: target.path, relative: join(relative, name) });
      } else leaveOut("entries that are no regular files");
      if (walked.files.length > MAX_FILES) throw tooMany(`it names more than ${MAX_FILES} files`, base);
    }
  };
  await enter(base, "", []);
  return walked;
}

/** The real file behind a link, or why it is left out. */
async function linked(access: Access, link: HostPath): Promise<{ path: HostPath } | { reason: string }> {
  try {
    const path = keep(await realpath(link, { encoding: "buffer" }));
    if (!access.allows(path)) return { reason: "links that lead outside or to files that are never loaded" };
    if (!(await stat(path)).isFile()) return { reason: "links to directories or devices" };
    return { path };
  } catch {
    return { reason: "links that lead nowhere" };
  }
}

function join(directory: HostPath, name: HostPath): HostPath {
  if (directory.length === 0) return name;
  if (typeof directory === "string" && typeof name === "string")
    return directory.endsWith("/") ? directory + name : `${directory}/${name}`;
  return Buffer.concat([Buffer.from(directory), Buffer.from("/"), Buffer.from(name)]);
}

function tooMany(why: string, base: string): ClocheError {
  return new ClocheError("load.too_large", {
    message: `${label(base)} is too much for one load: ${why}`,
    hint: "Load a subdirectory or a narrower pattern.",
  });
}
