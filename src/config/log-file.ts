// The log on disk: one JSON object a line, appended by any number of servers, rotated by size.
// Each line is one append to the file that bears the name, or bore it a moment ago: no server holds on to one for long.
import { closeSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { LogFields, Logger, LogLevel } from "../shared/log.ts";
import { type Redact, redactor } from "./redact.ts";
import type { Environment } from "./surroundings.ts";

/** Size at which a file is rotated, in `bytes`. */
const MAX_BYTES = 5_242_880;
/** Files kept, the current one included. */
const MAX_FILES = 5;
/** `milliseconds` after which a server looks which file bears the name now. */
const HELD_MS = 500;
/** Age at which a rotation's lock is taken for that of a dead process, in `milliseconds`. */
const STALE_LOCK = 10_000;

const LEVELS: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface LogFileOptions {
  path: string;
  level: LogLevel;
  /** whose secret values are kept out of the log */
  env: Environment;
  /** where warnings and errors go as well; stdout belongs to MCP */
  stderr?: (line: string) => void;
  maxBytes?: number;
}

/** A logger that never throws: where the disk refuses, it says so once on stderr and goes on without the file. */
export function openLogFile(options: LogFileOptions): Logger {
  const sink = { ...options, stderr: options.stderr ?? ((line) => void process.stderr.write(line)) };
  try {
    mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
  } catch {
    // The first line reports it.
  }
  return logger(new LogFile(sink), redactor(options.env), { pid: process.pid });
}

/** What JSON leaves as it is and a terminal obeys or does not show. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Default_Ignorable_Code_Point}]/gv;

function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, at) => character.charCodeAt(at))
    .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
    .join("");
}

function logger(file: LogFile, redact: Redact, bound: LogFields): Logger {
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}) => {
      if (!file.takes(level)) return;
      const line = { time: new Date().toISOString(), level, event, ...redact({ ...bound, ...fields }) };
      file.write(level, `${JSON.stringify(line).replace(UNSEEN, escaped)}\n`);
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => logger(file, redact, { ...bound, ...fields }),
  };
}

class LogFile {
  readonly #path: string;
  readonly #least: number;
  readonly #maxBytes: number;
  readonly #stderr: (line: string) => void;
  #refused = false;
  #held: { descriptor: number; size: number; since: number } | undefined;

  constructor(options: LogFileOptions & { stderr: (line: string) => void }) {
    this.#path = options.path;
    this.#least = LEVELS[options.level];
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
    this.#stderr = options.stderr;
  }

  takes(level: LogLevel): boolean {
    return LEVELS[level] >= this.#least;
  }

  write(level: LogLevel, line: string): void {
    if (LEVELS[level] >= LEVELS.warn) this.#stderr(line);
    try {
      const bytes = Buffer.from(line);
      const file = this.#open(bytes.length);
      writeSync(file.descriptor, bytes);
      file.size += bytes.length;
      this.#refused = false;
    } catch (error) {
      this.#letGo();
      if (!this.#refused)
        this.#stderr(
          `${JSON.stringify({ level: "warn", event: "log.unwritable", reason: String(error) })}\n`,
        );
      this.#refused = true;
    }
  }

  /** The file that takes `length` bytes more. */
  #open(length: number): { descriptor: number; size: number } {
    const now = performance.now();
    const held = this.#held;
    if (held && now - held.since < HELD_MS && held.size + length <= this.#maxBytes) return held;
    this.#letGo();
    if (!this.#fits(length)) this.#rotate(length);
    const descriptor = openSync(this.#path, "a", 0o600);
    this.#held = { descriptor, size: fstatSync(descriptor).size, since: now };
    return this.#held;
  }

  #letGo(): void {
    if (this.#held) closeSync(this.#held.descriptor);
    this.#held = undefined;
  }

  #fits(length: number): boolean {
    const size = sizeOf(this.#path);
    return size === 0 || size + length <= this.#maxBytes;
  }

  /** One process rotates at a time; the others go on writing meanwhile. */
  #rotate(length: number): void {
    const lock = `${this.#path}.rotating`;
    try {
      closeSync(openSync(lock, "wx", 0o600));
    } catch {
      const taken = statSync(lock, { throwIfNoEntry: false });
      if (taken && Date.now() - taken.mtimeMs > STALE_LOCK) rmSync(lock, { force: true });
      return;
    }
    try {
      if (this.#fits(length)) return; // another process has just rotated
      for (let number = MAX_FILES - 1; number >= 1; number -= 1) {
        const from = number === 1 ? this.#path : `${this.#path}.${number - 1}`;
        if (statSync(from, { throwIfNoEntry: false })) renameSync(from, `${this.#path}.${number}`);
      }
    } finally {
      rmSync(lock, { force: true });
    }
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** The files of the log at `path`, oldest first. */
export function logFiles(path: string): string[] {
  const rotated = Array.from({ length: MAX_FILES - 1 }, (_, index) => `${path}.${MAX_FILES - 1 - index}`);
  return [...rotated, path].filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile());
}
