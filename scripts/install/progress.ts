// Says what is under way: no minute passes in silence, and a failure shows the end of what the command wrote.
import { type SpawnOptions, spawn } from "node:child_process";

/** Characters of a command's last line that fit behind the seconds. */
const LINE = 80;
/** How much of a failed command's output is kept, in `characters`. */
const TAIL = 4000;
/** Of pip's lines, what says nothing here: the drawn progress, and what a wheel was built for. */
const NOISE = /[━╸╺]+|-(?:cp|py)\d\S*/g;
const EVERY_MS = 10_000;

export type Say = (line: string) => void;

export const say: Say = (line) => void process.stdout.write(`${line}\n`);

/** Runs `work` under a label; `note` sets what stands behind the seconds while it runs, said once and not again. */
export async function step<T>(label: string, work: (note: Say) => Promise<T>): Promise<T> {
  const started = performance.now();
  const seconds = () => Math.round((performance.now() - started) / 1000);
  let latest = "";
  let said = "";
  say(`${label} …`);
  const ticker = setInterval(() => {
    say(`  … ${seconds()} s  ${latest === said ? "" : latest}`.trimEnd());
    said = latest;
  }, EVERY_MS);
  try {
    const result = await work((line) => {
      latest = clip(line.replace(NOISE, "").trim());
    });
    say(`  done in ${seconds()} s`);
    return result;
  } catch (error) {
    say(`  failed after ${seconds()} s`);
    throw error;
  } finally {
    clearInterval(ticker);
  }
}

/** The words of `line` that fit. */
function clip(line: string): string {
  return line.length <= LINE ? line : `${line.slice(0, LINE).replace(/\S*$/, "").trimEnd()} …`;
}

/** A command that ended badly: its message carries the end of what it wrote. */
export class CommandFailed extends Error {
  constructor(command: string, outcome: string, tail: string) {
    super(`${command} ${outcome}${tail.trim() === "" ? "" : `:\n${tail.trim()}`}`);
    this.name = "CommandFailed";
  }
}

/** Runs a command to its end without a terminal; each line it writes goes to `note`. Throws CommandFailed. */
export function run(command: string, args: string[], note: Say, options: SpawnOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const take = (chunk: Buffer) => {
      output = (output + chunk).slice(-TAIL);
      const line = output
        .trimEnd()
        .split(/[\r\n]/)
        .at(-1)
        ?.trim();
      if (line) note(line);
    };
    child.stdout?.on("data", take);
    child.stderr?.on("data", take);
    child.on("error", (error) =>
      reject(new CommandFailed(command, `cannot be started (${error.message})`, "")),
    );
    child.on("close", (code, signal) => {
      if (code === 0) resolve(output);
      else
        reject(
          new CommandFailed(command, code === null ? `was ended by ${signal}` : `ended with ${code}`, output),
        );
    });
  });
}
