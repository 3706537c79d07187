// Which host files may be read: those in the project directory and the configured roots, judged by where they really
// lie, and never one of the denylist. Decides about paths; opening what was decided on is in source-file.ts.
import type { Stats } from "node:fs";
import { lstat, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { ClocheError } from "../shared/errors.ts";
import { Denylist } from "./denylist.ts";
import { isPattern } from "./glob.ts";
import { type HostPath, label } from "./label.ts";
import { nearNames } from "./near-names.ts";

const NO_SECRETS =
  "If there is data in it that is needed, ask the person for it in a file without the secrets.";
const THEIR_PATTERN = "The person set that pattern: ask them if the file is needed.";

/** Longest path that the system resolves (PATH_MAX), in `bytes`. */
const MAX_PATH_BYTES = 4_096;

export interface AccessPolicy {
  /** real path of the project directory: where relative paths start */
  project: string;
  /** real paths of further directories that may be read */
  roots: readonly string[];
  /** globs that are denied beside the built-in denylist: `*.parquet`, `private/**`, `~/x`, `/abs/x` */
  deny?: readonly string[];
  /** where those globs stand, for whoever meets one: a settings file */
  denyOrigin?: string;
  /** real path of the person's home directory, for `~` */
  home: string;
  /** absolute directories of Cloche itself (state, configuration): never read */
  own?: readonly string[];
}

/** Why a file is kept out. */
export interface Denial {
  /** a clause: "it is denied by …" */
  why: string;
  /** the same in words for before a number: "entries denied by …" */
  counted: string;
  hint: string;
}

/** What a written path turned out to be; `real` has no link in it. */
export type Located =
  | { kind: "file" | "directory"; real: string }
  | { kind: "pattern"; base: string; pattern: string };

export class Access {
  readonly project: string;
  readonly home: string;
  private readonly allowed: readonly string[];
  private readonly denylist: Denylist;

  constructor(policy: AccessPolicy) {
    this.project = policy.project;
    this.home = policy.home;
    this.allowed = [...new Set([policy.project, ...policy.roots])];
    this.denylist = new Denylist(policy.home, policy.deny, policy.own, policy.denyOrigin);
  }

  /**
   * Finds what `written` (relative to the project, absolute, or with `~`) names. Throws `input.invalid`,
   * `load.refused` (with the rule) or `load.not_found` (with near names); tells nothing of what lies outside.
   */
  async locate(written: string): Promise<Located> {
    const path = this.absolute(written);
    const denied = this.denied(path);
    if (denied) throw refused(written, denied.why, denied.hint);
    let real: string;
    let stat: Stats;
    try {
      real = await realpath(path);
      stat = await lstat(real);
    } catch (error) {
      return this.unresolved(written, path, error as NodeJS.ErrnoException);
    }
    this.demand(real, written);
    if (stat.isDirectory()) return { kind: "directory", real };
    if (stat.isFile()) return { kind: "file", real };
    throw refused(written, `it is ${kindOf(stat)}, not a regular file`, "Load a regular file.");
  }

  /** Throws unless the real path may be read. `shown` is how the reader knows it. */
  demand(real: HostPath, shown: HostPath): void {
    const path = real.toString();
    if (!this.root(path)) throw this.outside(shown);
    const denied = this.denied(path);
    if (denied) throw refused(shown, denied.why, denied.hint);
  }

  /** May the real path be read? */
  allows(real: HostPath): boolean {
    const path = real.toString();
    return this.root(path) !== undefined && !this.denied(path);
  }

  /** Why the denylist keeps an absolute path out; undefined where it does not. */
  denied(path: HostPath): Denial | undefined {
    const text = path.toString();
    const root = this.root(text);
    const what = this.denylist.match(text, root ? root.split("/").filter(Boolean).length : 0);
    if (!what) return undefined;
    if (what.startsWith("denied"))
      return { why: `it is ${what}`, counted: `entries ${what}`, hint: THEIR_PATTERN };
    return {
      why: `files that are ${what} are never loaded`,
      counted: "entries that are never loaded (keys, credentials and the like)",
      hint: NO_SECRETS,
    };
  }

  /** The directories that may be read, for messages and near names. */
  roots(): readonly string[] {
    return this.allowed;
  }

  /** The path as a person names it: relative within the project ("" for the project), absolute elsewhere. */
  asWritten(path: string): string {
    if (path === this.project) return "";
    return path.startsWith(`${this.project}/`) ? path.slice(this.project.length + 1) : path;
  }

  private root(path: string): string | undefined {
    const around = this.allowed.filter(
      (root) => path === root || path.startsWith(root === "/" ? root : `${root}/`),
    );
    return around.sort((a, b) => b.length - a.length)[0];
  }

  private absolute(written: string): string {
    if (written.trim() === "") throw invalid("the path is empty", "Give a path, or `text`.");
    if (Buffer.byteLength(written) > MAX_PATH_BYTES) throw tooLong(written);
    if (written.includes("\0")) throw invalid("the path has a NUL character", "Correct the path.");
    if (/^file:\/\//i.test(written))
      throw new ClocheError("load.refused", {
        message: `${label(written)} is a URL`,
        hint: "Give the plain path, without file://.",
      });
    const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(written)?.[1];
    if (scheme)
      throw new ClocheError("load.refused", {
        message: `${label(written)} is a URL, and the sandbox has no network`,
        hint: "Download it on the host into the project directory, then load that file.",
      });
    if (written === "~") return this.home;
    if (written.startsWith("~/")) return join(this.home, written.slice(2));
    return isAbsolute(written) ? resolve(written) : resolve(this.project, written);
  }

  private async unresolved(written: string, path: string, error: NodeJS.ErrnoException): Promise<Located> {
    if (isPattern(written) && error.code !== "EACCES") return this.pattern(written, path);
    const nearest = await nearestExisting(path);
    // Whether something exists outside is nobody's business inside.
    if (!this.root(nearest.directory)) throw this.outside(written);
    switch (error.code) {
      case "ENOENT":
      case "ENOTDIR": {
        const link = await lstat(path).catch(() => undefined);
        if (link?.isSymbolicLink()) throw refused(written, "it is a link that leads nowhere");
        throw new ClocheError("load.not_found", {
          message: `there is no ${label(written)}`,
          hint: await nearNames(this, nearest.directory, nearest.missing, basename(path)),
        });
      }
      case "ELOOP":
        throw refused(written, "its links go in a circle");
      case "ENAMETOOLONG":
        throw tooLong(written);
      case "EACCES":
        throw refused(written, "the system denies permission", "Change its permissions, or load a copy.");
      default:
        throw new ClocheError("load.refused", {
          message: `${label(written)} cannot be read (${error.code})`,
        });
    }
  }

  /** Splits at the first component with a pattern character; what stands before must be a readable directory. */
  private async pattern(written: string, path: string): Promise<Located> {
    const parts = path.split("/");
    const first = parts.findIndex((part) => isPattern(part));
    const fixed = parts.slice(0, first).join("/") || "/";
    const base = await this.locate(fixed);
    if (base.kind !== "directory")
      throw new ClocheError("load.not_found", { message: `nothing matches ${label(written)}` });
    return { kind: "pattern", base: base.real, pattern: parts.slice(first).join("/") };
  }

  private outside(shown: HostPath): ClocheError {
    const [project, ...roots] = this.allowed.map(label);
    const places =
      roots.length > 0 ? ` and the roots ${roots.join(", ")}` : "; no further roots are configured";
    return new ClocheError("load.refused", {
      message: `${label(shown)} is outside of what may be loaded: the project directory ${project}${places}`,
      hint: "Copy it into the project directory, or add its directory to `roots` in config.json.",
      data: { roots: [...this.allowed] },
    });
  }
}

export function refused(shown: HostPath, why: string, hint?: string): ClocheError {
  return new ClocheError("load.refused", {
    message: `${label(shown)} cannot be loaded: ${why}`,
    hint: hint ?? "Copy it to a regular file in the project directory, and load that.",
  });
}

/** What a directory entry is, with its article. */
export function kindOf(stat: {
  isFIFO(): boolean;
  isSocket(): boolean;
  isSymbolicLink(): boolean;
  isDirectory(): boolean;
}): string {
  if (stat.isFIFO()) return "a FIFO";
  if (stat.isSocket()) return "a socket";
  if (stat.isSymbolicLink()) return "a link";
  return stat.isDirectory() ? "a directory" : "a device";
}

function tooLong(written: string): ClocheError {
  return invalid(`the path ${label(written)} is longer than the system allows`, "Correct the path.");
}

function invalid(message: string, hint: string): ClocheError {
  return new ClocheError("input.invalid", { message, hint });
}

/** The real path of the closest ancestor that exists, and the component that is missing in it. */
async function nearestExisting(path: string): Promise<{ directory: string; missing: string }> {
  for (let at = dirname(path), missing = basename(path); ; ) {
    const directory = at === "/" ? at : await realpath(at).catch(() => undefined);
    if (directory !== undefined) return { directory, missing };
    missing = basename(at);
    at = dirname(at);
  }
}
