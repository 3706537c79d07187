// What a load asks for, checked and turned into the list of files it means. Nothing is opened or copied here.
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { ClocheError } from "../shared/errors.ts";
import { type Access, type Located, refused } from "./access.ts";
import { type HostPath, label } from "./label.ts";
import { variableName } from "./variable-name.ts";
import { MAX_FILES, walk } from "./walk.ts";

/** Exactly one of `path`, `paths` and `text`. */
export interface StageRequest {
  /** file, directory or glob: relative to the project, absolute, or with `~` */
  path?: string;
  paths?: string[];
  text?: string;
  /** variable to bind; read off the file name when absent */
  name?: string;
  /** how to read it; detected in the sandbox when absent */
  format?: string;
}

export interface Candidate {
  path: HostPath;
  /** as the reader knows it */
  shown: HostPath;
  /** `bytes`, as last seen: for the progress and the room on the disk, not for the copy */
  size: number;
  /** named by the caller, so that it is refused rather than left out */
  explicit: boolean;
}

export interface Candidates {
  name: string;
  directory: boolean;
  files: Candidate[];
  /** reason, in words for after a number → how many entries */
  leftOut: Map<string, number>;
}

const MAX_PATHS = 1_000;

/** Throws `input.invalid` unless the request has exactly one source. */
export function demandOneSource(request: StageRequest): void {
  const given = (["path", "paths", "text"] as const).filter((key) => request[key] !== undefined);
  if (given.length === 1) return;
  const found =
    given.length === 0 ? "none of them was" : `${given.map((key) => `\`${key}\``).join(" and ")} were`;
  throw new ClocheError("input.invalid", {
    message: `load takes exactly one of \`path\`, \`paths\` and \`text\`, and ${found} given`,
  });
}

/** Finds the files of `path` or `paths`, sorted within each directory or glob, every file once. */
export async function findCandidates(
  access: Access,
  request: StageRequest,
  signal: AbortSignal,
): Promise<Candidates> {
  const written = request.paths ?? [request.path ?? ""];
  if (written.length === 0 || written.length > MAX_PATHS)
    throw new ClocheError("input.invalid", { message: `\`paths\` takes 1 to ${MAX_PATHS} paths` });
  // A wrong name is found before anything is looked for.
  const name = variableName(commonName(written), request.name);
  const files = new Map<string, Candidate>();
  const leftOut = new Map<string, number>();
  let directory = false;
  for (const each of written) {
    const located = await access.locate(each);
    directory = located.kind === "directory" && request.path !== undefined;
    for (const file of await below(access, located, each, directory, leftOut, signal)) {
      const key = Buffer.from(file.path).toString("latin1");
      if (!files.has(key)) files.set(key, file);
    }
    if (files.size > MAX_FILES)
      throw new ClocheError("load.too_large", {
        message: `more than ${MAX_FILES} files are too much for one load`,
        hint: "Load them in parts, each under its own name.",
      });
  }
  return { name, directory, files: [...files.values()], leftOut };
}

async function below(
  access: Access,
  located: Located,
  written: string,
  relativeLabels: boolean,
  leftOut: Map<string, number>,
  signal: AbortSignal,
): Promise<Candidate[]> {
  if (located.kind === "file")
    return [{ path: located.real, shown: written, size: await sizeOf(located.real), explicit: true }];
  const { base, pattern } = located.kind === "pattern" ? located : { base: located.real, pattern: undefined };
  const walked = await walk(access, base, pattern, signal);
  for (const [reason, count] of walked.leftOut) leftOut.set(reason, (leftOut.get(reason) ?? 0) + count);
  if (walked.files.length === 0) throw nothing(written, pattern, walked.leftOut);
  const prefix = access.asWritten(base);
  const found: Candidate[] = [];
  for (const { path, relative } of walked.files) {
    const shown = relativeLabels || prefix === "" ? relative : joined(prefix, relative);
    found.push({ path, shown, size: await sizeOf(path), explicit: false });
  }
  return found;
}

function nothing(written: string, pattern: string | undefined, leftOut: Map<string, number>): ClocheError {
  const reasons = describeLeftOut(leftOut);
  const but = reasons === "" ? "" : ` (left out: ${reasons})`;
  if (pattern === undefined)
    return refused(written, `it holds no files to load${but}`, "Name a directory that does.");
  return new ClocheError("load.not_found", { message: `no file matches ${label(written)}${but}` });
}

/** "hidden entries (3), links that lead nowhere (1)" */
export function describeLeftOut(leftOut: Map<string, number>): string {
  return [...leftOut].map(([reason, count]) => `${reason} (${count})`).join(", ");
}

async function sizeOf(path: HostPath): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

function joined(prefix: string, relative: HostPath): HostPath {
  if (typeof relative === "string") return `${prefix}/${relative}`;
  return Buffer.concat([Buffer.from(`${prefix}/`), relative]);
}

/** What the variable is called after: the one path, or what the names of several have in common. */
function commonName(written: string[]): string {
  const [first = "", ...others] = written.map((path) => basename(path));
  if (others.length === 0) return written[0] ?? "";
  let shared = first.length;
  for (const other of others) while (!other.startsWith(first.slice(0, shared))) shared--;
  const prefix = first.slice(0, shared).replace(/[\d._-]+$/, "");
  return prefix.length >= 3 ? prefix : "data";
}
