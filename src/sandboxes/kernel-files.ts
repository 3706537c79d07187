// A copy of the kernel packages that every sandbox can read: the clone may lie in a home that is closed to others.
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ClocheError } from "../shared/errors.ts";

const PACKAGES = ["cloche_kernel", "cloche"];
/** Age of last use after which another version's copy is removed, in `milliseconds`: no session lives that long. */
const UNUSED_AFTER = 7 * 24 * 3_600_000;

export interface KernelFilesOptions {
  /** directory that holds the packages `cloche_kernel` and `cloche` */
  source: string;
  /** directory that holds the copies, one for each version */
  target: string;
  /** virtual environment that runs them, for bytecode; without one there is none, and starts are slower */
  python?: string;
}

/**
 * Makes `<target>/<hash>/` unless it is there, world-readable and byte-compiled, and resolves with its path. It appears
 * whole or not at all, also when two servers make it at once.
 */
export async function installKernelFiles({ source, target, python }: KernelFilesOptions): Promise<string> {
  const files = PACKAGES.flatMap((name) => listFiles(source, name));
  if (files.length === 0)
    throw new ClocheError("sandbox.unavailable", {
      message: `the kernel packages are missing from ${source}`,
      hint: "Restore the clone, or run ./setup.sh in a fresh one.",
    });
  const contents = files.map((path) => [path, readFileSync(join(source, path))] as const);
  const hash = createHash("sha256").update(`${python ?? ""}\0`);
  for (const [path, content] of contents) hash.update(`${path}\0${content.length}\0`).update(content);
  const directory = join(target, hash.digest("hex").slice(0, 12));

  if (!isDirectory(directory)) {
    const draft = join(target, `.draft-${randomBytes(4).toString("hex")}`);
    try {
      for (const [path, content] of contents) {
        makeReadable(join(draft, dirname(path)), target);
        writeFileSync(join(draft, path), content);
        chmodSync(join(draft, path), 0o644);
      }
      if (python !== undefined) await compile(join(python, "bin/python"), draft, target);
      renameSync(draft, directory);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      if (!isDirectory(directory)) throw unwritable(target, error);
    }
  }
  try {
    const now = new Date();
    utimesSync(directory, now, now);
  } catch {
    // On a disk that became read-only nobody removes it either.
  }
  prune(target, directory);
  return directory;
}

function unwritable(target: string, cause: unknown): unknown {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (cause instanceof ClocheError || code === undefined) return cause;
  return new ClocheError(code === "ENOSPC" || code === "EDQUOT" ? "store.full" : "store.readonly", {
    message: `the kernel's files could not be put into ${target} (${message})`,
    cause,
  });
}

function listFiles(source: string, below: string): string[] {
  if (!isDirectory(join(source, below))) return [];
  return readdirSync(join(source, below), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(below, entry.name);
      if (entry.isDirectory()) return entry.name === "__pycache__" ? [] : listFiles(source, path);
      return entry.isFile() && /\.(py|pyi|typed|json)$/.test(entry.name) ? [path] : [];
    })
    .sort();
}

/** Makes `directory` and what is missing above it, down from `top`, open to all whatever the umask. */
function makeReadable(directory: string, top: string): void {
  if (directory === top || isDirectory(directory)) return;
  makeReadable(dirname(directory), top);
  mkdirSync(directory);
  chmodSync(directory, 0o755);
}

/** Bytecode that is never checked against file times: the sandbox sees the directory under another path and clock. */
function compile(python: string, directory: string, target: string): Promise<void> {
  const args = [
    "-I",
    "-m",
    "compileall",
    "-q",
    "--invalidation-mode",
    "unchecked-hash",
    "-s",
    directory,
    directory,
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(python, args, { cwd: target, env: {}, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        text += chunk;
      });
    child.on("error", reject);
    child.on("close", (code) => {
      for (const name of PACKAGES) openTree(join(directory, name));
      if (code === 0) resolve();
      else
        reject(
          new ClocheError("internal", { message: `the kernel packages do not compile (${text.trim()})` }),
        );
    });
  });
}

function openTree(directory: string): void {
  if (!isDirectory(directory)) return;
  chmodSync(directory, 0o755);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) openTree(join(directory, entry.name));
    else chmodSync(join(directory, entry.name), 0o644);
  }
}

function prune(target: string, current: string): void {
  for (const name of readdirSync(target)) {
    const path = join(target, name);
    if (path === current) continue;
    try {
      if (Date.now() - statSync(path).mtimeMs > UNUSED_AFTER) rmSync(path, { recursive: true, force: true });
    } catch {
      // Another server removed it first.
    }
  }
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
