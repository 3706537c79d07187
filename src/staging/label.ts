// How a file's name is shown and stored: never a control, bidi or invisible character, never longer than it needs.
import { createHash } from "node:crypto";
import { printable } from "../shared/printable.ts";

/** A host path: text, or the raw bytes where they are no valid UTF-8. */
export type HostPath = string | Buffer;

/** Longest staged file name, in `bytes`: leaves room for a number under every file system's 255. */
const MAX_FILE_NAME = 120;

/** The path in characters that cannot steer a terminal or reorder a line; what had to go is shown escaped. */
export function label(path: HostPath): string {
  return printable(decode(path));
}

/** Bytes as text, with those that are no UTF-8 as `\xNN`. */
function decode(path: HostPath): string {
  if (typeof path === "string") return path;
  let text = "";
  for (let at = 0; at < path.length; ) {
    const length = [1, 2, 3, 4].find(
      (n) =>
        !path
          .subarray(at, at + n)
          .toString()
          .includes("\ufffd"),
    );
    text += length
      ? path.subarray(at, at + length).toString()
      : `\\x${path[at]?.toString(16).padStart(2, "0")}`;
    at += length ?? 1;
  }
  return text;
}

/** `base` itself, or `base` with the first number that `taken` does not know, before its extensions. */
export function unique(base: string, taken: (name: string) => boolean): string {
  if (!taken(base)) return base;
  const [stem, extensions] = splitExtensions(base);
  for (let number = 2; ; number++) {
    const candidate = `${stem}-${number}${extensions}`;
    if (!taken(candidate)) return candidate;
  }
}

/** A name for the staged copy: the file's own, in letters, digits, `.`, `_` and `-`, its extensions kept. */
export function safeFileName(path: HostPath): string {
  const name =
    decode(path)
      .split("/")
      .findLast((part) => part !== "") ?? "";
  const clean = name
    .normalize("NFC")
    .replace(/[^\p{L}\p{M}\p{N}._-]+/gu, "_")
    .replace(/^[.-]+/, "");
  const [stem, extensions] = splitExtensions(clean === "" ? "file" : clean);
  if (Buffer.byteLength(stem + extensions) <= MAX_FILE_NAME) return stem + extensions;
  // The digest keeps apart the names that only differ in what is cut off.
  const digest = createHash("sha256").update(path).digest("hex").slice(0, 8);
  const room = MAX_FILE_NAME - Buffer.byteLength(extensions) - digest.length - 1;
  let cut = "";
  for (const char of stem) {
    if (Buffer.byteLength(cut + char) > room) break;
    cut += char;
  }
  return `${cut}-${digest}${extensions}`;
}

/** Stem and up to two short extensions: `sales.csv.gz` → `sales`, `.csv.gz`. */
export function splitExtensions(name: string): [stem: string, extensions: string] {
  const extensions = /(?<=[^.])(\.[A-Za-z0-9]{1,10}){1,2}$/.exec(name)?.[0] ?? "";
  return [name.slice(0, name.length - extensions.length), extensions];
}
