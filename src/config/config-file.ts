// Reads one settings file: its bytes without following a link, its keys named when they are unknown or wrong.
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { ClocheError } from "../shared/errors.ts";
import { nearest } from "../shared/nearest.ts";
import { printable } from "../shared/printable.ts";
import { type SettingsFile, settingNames, settingsFile } from "./settings.ts";

/** Largest settings file, in `bytes`: a person wrote it. */
const MAX_BYTES = 262_144;

/** The file's bytes, or undefined when there is none. `label` names it in messages; throws `config.invalid`. */
export function readSettingsBytes(path: string, label: string, follow: boolean): Buffer | undefined {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | (follow ? 0 : constants.O_NOFOLLOW));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    if (code === "ELOOP")
      throw invalid(`${label} is a link, and only a regular file is read`, "Replace it by the file itself.");
    throw invalid(`${label} cannot be read (${code})`, "Make it readable, or remove it.");
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile())
      throw invalid(`${label} is not a regular file`, "Replace it by a file, or remove it.");
    if (stat.size > MAX_BYTES) throw invalid(`${label} is larger than ${MAX_BYTES / 1024} KiB`);
    const bytes = Buffer.alloc(MAX_BYTES);
    return bytes.subarray(0, readSync(file, bytes, 0, MAX_BYTES, 0));
  } finally {
    closeSync(file);
  }
}

/** The settings in `bytes`; throws `config.invalid` with the first key that is wrong. */
export function parseSettings(bytes: Buffer, label: string): SettingsFile {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString("utf8").replace(/^\uFEFF/, ""));
  } catch (cause) {
    throw invalid(
      `${label} is not valid JSON (${(cause as Error).message})`,
      "Correct it, or remove the file.",
    );
  }
  const parsed = settingsFile.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  if (issue?.code === "unrecognized_keys") {
    const key = issue.keys[0] ?? "";
    const near = nearest(key, settingNames);
    throw invalid(
      `${label} has an unknown key ${JSON.stringify(key)}${near ? `; did you mean ${JSON.stringify(near)}?` : ""}`,
      near ? "Correct or remove the key." : `The keys are ${settingNames.join(", ")}.`,
    );
  }
  const where = issue?.path.length ? `${label}: ${issue.path.join(".")}` : label;
  throw invalid(`${where}: ${issueText(issue)}`);
}

/** One setting given as text, by a variable or a flag; throws `config.invalid`. */
export function parseSetting(name: keyof SettingsFile, text: string, label: string): SettingsFile {
  const schema = settingsFile.shape[name];
  const direct = schema.safeParse(text);
  const parsed = direct.success || text.trim() === "" ? direct : schema.safeParse(Number(text));
  if (parsed.success) return { [name]: parsed.data };
  throw invalid(
    `${label}: ${issueText((Number.isNaN(Number(text)) ? direct : parsed).error?.issues[0])}, not ${JSON.stringify(text.slice(0, 100))}`,
    "Correct or unset it.",
  );
}

function issueText(issue: { code?: string; message: string; errors?: unknown } | undefined): string {
  if (issue?.code === "invalid_union") {
    const inner = (issue.errors as { message: string }[][])
      .flat()
      .find((one) => !one.message.startsWith("Invalid input"));
    return inner?.message ?? 'expected a size such as "8GiB", or a whole number of bytes';
  }
  return (issue?.message ?? "is not valid")
    .replace(/^Invalid (input|option): /, "")
    .replaceAll('"|"', '" or "')
    .replace(/expected (number|string|array|object)\b/, (_, type) => `expected ${withArticle(type)}`)
    .replace(/, received (\w+)$/, (_, type) => `, not ${withArticle(type)}`);
}

/** A JSON type as a person calls it. */
function withArticle(type: string): string {
  const names: Record<string, string> = {
    array: "a list",
    object: "an object",
    null: "null",
    undefined: "nothing",
  };
  return names[type] ?? `a ${type}`;
}

function invalid(message: string, hint?: string): ClocheError {
  const shown = { message: printable(message, 600) };
  return new ClocheError("config.invalid", hint === undefined ? shown : { ...shown, hint });
}
