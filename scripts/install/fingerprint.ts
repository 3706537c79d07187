// One short hash of everything a sandbox is made from: the same inputs give the same name, any change another.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

/** Files of `directory` and below, relative, sorted; bytecode and caches are no inputs. */
export function sourceFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(
      (entry) => entry.isFile() && !entry.name.endsWith(".pyc") && !entry.parentPath.includes("__pycache__"),
    )
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

/** Twelve hex digits over named inputs; lengths are part of it, so that no two sets of inputs read the same. */
export function fingerprint(inputs: readonly (readonly [name: string, content: string | Buffer])[]): string {
  const hash = createHash("sha256");
  for (const [name, content] of inputs)
    hash.update(`${name}\0${Buffer.byteLength(content)}\0`).update(content);
  return hash.digest("hex").slice(0, 12);
}

/** Files below `root` as inputs: each of `paths` is a file or a directory. */
export function fileInputs(root: string, paths: readonly string[]): [string, Buffer][] {
  return paths.flatMap((path) => {
    const files = path.endsWith("/") ? sourceFiles(join(root, path)).map((file) => join(path, file)) : [path];
    return files.map((file): [string, Buffer] => [file, readFileSync(join(root, file))]);
  });
}
