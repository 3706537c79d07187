// Cloche's entry in Claude Desktop's settings: added and removed without touching anything else in the file.
import { copyFileSync, existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { writeAtomically } from "../src/shared/atomic-write.ts";
import { ClocheError } from "../src/shared/errors.ts";

export interface ServerEntry {
  command: string;
  args: string[];
  env?: Record<string, string>;
}

type Json = { [key: string]: unknown };
type Change = { changed: false } | { changed: true; backup?: string };

const NAME = "cloche";

/** The settings file, where Claude Desktop's folder exists; undefined where it does not. */
export function desktopConfigPath(home: string, configHome: string | undefined): string | undefined {
  const folder =
    process.platform === "darwin"
      ? join(home, "Library/Application Support/Claude")
      : join(configHome || join(home, ".config"), "Claude");
  return existsSync(folder) ? join(folder, "claude_desktop_config.json") : undefined;
}

/** Adds or renews the entry, with a backup first. Throws `config.invalid` for a file it cannot understand. */
export function addToDesktop(path: string, entry: ServerEntry): Change {
  const settings = read(path);
  const servers = serversOf(path, settings);
  if (JSON.stringify(servers[NAME]) === JSON.stringify(entry)) return { changed: false };
  return write(path, { ...settings, mcpServers: { ...servers, [NAME]: entry } });
}

/** Removes the entry if it starts `main`; another clone's entry stays. */
export function removeFromDesktop(path: string, main: string): Change {
  if (!existsSync(path)) return { changed: false };
  const settings = read(path);
  const { [NAME]: ours, ...others } = serversOf(path, settings);
  if (!(ours as ServerEntry | undefined)?.args?.includes(main)) return { changed: false };
  const { mcpServers: _, ...rest } = settings;
  return write(path, Object.keys(others).length === 0 ? rest : { ...settings, mcpServers: others });
}

function read(path: string): Json {
  if (!existsSync(path)) return {};
  const text = readFileSync(path, "utf8").replace(/^\uFEFF/, "");
  if (text.trim() === "") return {};
  let settings: unknown;
  try {
    settings = JSON.parse(text);
  } catch (cause) {
    throw unreadable(path, `is not valid JSON (${(cause as Error).message})`);
  }
  if (!isObject(settings)) throw unreadable(path, "is not a JSON object");
  return settings;
}

function serversOf(path: string, settings: Json): Json {
  const servers = settings.mcpServers ?? {};
  if (!isObject(servers)) throw unreadable(path, 'has an "mcpServers" that is not an object');
  return servers;
}

function write(path: string, settings: Json): Change {
  const backup = existsSync(path) ? `${path}.before-cloche-${stamp()}` : undefined;
  const mode = backup ? statSync(path).mode & 0o777 : 0o600;
  if (backup) copyFileSync(path, backup);
  writeAtomically(path, `${JSON.stringify(settings, null, 2)}\n`, mode);
  return backup ? { changed: true, backup } : { changed: true };
}

function stamp(): string {
  return new Date().toISOString().replace(/[-:.]/g, "");
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unreadable(path: string, why: string): ClocheError {
  return new ClocheError("config.invalid", {
    message: `Claude Desktop's settings ${path} ${why}, so they were left as they are`,
    hint: "Correct the file in Claude Desktop (Settings, Developer, Edit Config), then run ./setup.sh again.",
  });
}
