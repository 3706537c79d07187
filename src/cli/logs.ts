// `cloche logs`: the last lines of the log, readable or raw, and the ones that follow.
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { logFiles } from "../config/log-file.ts";
import { delay } from "../shared/async.ts";
import { printable } from "../shared/printable.ts";
import type { CliContext, Terminal } from "./context.ts";

const DEFAULT_LINES = 50;
/** Pause between two looks at a followed log, in `milliseconds`. */
const POLL = 250;

interface Options {
  lines: number;
  follow?: boolean;
  json?: boolean;
  session?: string;
}

export function registerLogs(program: Command, { resolveConfig, terminal }: CliContext): void {
  program
    .command("logs")
    .description("show what servers logged: never code or output")
    .option("-n, --lines <count>", "how many lines", wholeNumber, DEFAULT_LINES)
    .option("-f, --follow", "go on with new lines until interrupted")
    .option("--session <name>", "only lines about this session")
    .option("--json", "the lines as they are on disk")
    .action((options: Options) =>
      showLogs(resolveConfig({ mayBeBroken: true }).paths.logFile, options, terminal),
    );
}

async function showLogs(path: string, options: Options, terminal: Terminal): Promise<void> {
  const show = (line: string) => terminal.print(options.json ? line : readable(line));
  // Where the followed file ends is taken before it is read, so that no line falls between the two.
  const follower = new Follower(path);
  const wanted = lastLines(path, options);
  if (wanted.length === 0 && !options.follow)
    return terminal.complain(
      options.session ? `No line is about session ${options.session}.` : "Nothing was logged yet.",
    );
  wanted.forEach(show);
  while (options.follow && !terminal.interrupted?.aborted) {
    await pause(terminal.interrupted);
    for (const line of follower.next()) if (concerns(line, options.session)) show(line);
  }
}

/** The last lines wanted, oldest first; reads back through rotated files as far as needed. */
function lastLines(path: string, { lines, session }: Options): string[] {
  let found: string[] = [];
  for (const file of logFiles(path).reverse()) {
    if (found.length >= lines) break;
    found = [
      ...completeLines(readFileSync(file, "utf8")).filter((line) => concerns(line, session)),
      ...found,
    ];
  }
  return lines === 0 ? [] : found.slice(-lines);
}

function completeLines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

function concerns(line: string, session: string | undefined): boolean {
  return session === undefined || parse(line)?.session === session;
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** "2026-11-21 09:14:02 warn  sandbox.lost  session=main reason=…"; nothing in it can steer the terminal. */
function readable(line: string): string {
  const parsed = parse(line);
  if (!parsed) return printable(line, 2_000);
  const { time, level, event, pid: _, ...fields } = parsed;
  const when = String(time)
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z");
  const rest = Object.entries(fields).map(([name, value]) => {
    const text = typeof value === "string" && /^\S+$/.test(value) ? value : JSON.stringify(value);
    return `${name}=${text}`;
  });
  return printable([when, String(level).padEnd(5), String(event), ...rest].join(" "), 2_000);
}

async function pause(interrupted: AbortSignal | undefined): Promise<void> {
  // Unlike delay(), this timer keeps the process alive: following is all there is to do.
  const alive = setInterval(() => {}, POLL);
  await delay(POLL, interrupted).catch(() => {});
  clearInterval(alive);
}

/** Reads what was appended since it was made, through rotations. */
class Follower {
  readonly #path: string;
  #inode: number;
  #offset: number;
  #rest = "";

  constructor(path: string) {
    this.#path = path;
    const now = statSync(path, { throwIfNoEntry: false });
    this.#inode = now?.ino ?? 0;
    this.#offset = now?.size ?? 0;
  }

  next(): string[] {
    const now = statSync(this.#path, { throwIfNoEntry: false });
    if (!now) return [];
    const lines: string[] = [];
    if (now.ino !== this.#inode) {
      const rotated = `${this.#path}.1`;
      if (existsSync(rotated) && statSync(rotated).ino === this.#inode) lines.push(...this.#read(rotated));
      this.#inode = now.ino;
      this.#offset = 0;
      this.#rest = "";
    }
    lines.push(...this.#read(this.#path));
    return lines;
  }

  #read(path: string): string[] {
    const file = openSync(path, "r");
    try {
      const bytes = Buffer.alloc(Math.max(0, fstatSync(file).size - this.#offset));
      const read = readSync(file, bytes, 0, bytes.length, this.#offset);
      this.#offset += read;
      const parts = (this.#rest + bytes.toString("utf8", 0, read)).split("\n");
      this.#rest = parts.pop() ?? "";
      return parts.filter((line) => line !== "");
    } finally {
      closeSync(file);
    }
  }
}

function wholeNumber(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0) throw new InvalidArgumentError("It must be a whole number.");
  return number;
}
