// What a cell wrote, made harmless to read: no terminal escapes, no invisible or reordering characters, no NULs.

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find
const ESCAPES = /\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|\[[0-9;?]*[ -/]*[@-~]|[PX^_][^\x1b]*\x1b\\|[@-Z\\-_])/g;
const SUSPECT =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/;
const SUSPECTS =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/**
 * Removes terminal escape sequences, applies carriage returns as a terminal would, and shows what is left of control,
 * bidirectional and lone surrogate characters as `\xNN` or `\uNNNN`. Newlines and tabs stay.
 */
export function cleanText(text: string): string {
  if (!SUSPECT.test(text)) return text;
  let clean = text.replace(ESCAPES, "");
  if (clean.includes("\r")) clean = clean.split("\n").map(overwrite).join("\n");
  return clean.replace(SUSPECTS, show);
}

function overwrite(line: string): string {
  if (!line.includes("\r")) return line;
  return line.split("\r").findLast((segment) => segment.trim() !== "") ?? "";
}

function show(character: string): string {
  const code = character.charCodeAt(0);
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u${code.toString(16).padStart(4, "0")}`;
}
