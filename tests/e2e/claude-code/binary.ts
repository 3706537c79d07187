// The real Claude Code, in the version these tests were made with: fetched from npm once, kept below the clone.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { CLONE } from "../place.ts";

const VERSION = "2.1.329";
const directory = join(CLONE, ".cache/claude-code");
const run = promisify(execFile);

/** Directory of the command `claude`. */
export const claudeDirectory = join(directory, "node_modules/.bin");

/** Fetches Claude Code unless it is there; resolves with why it cannot be had, or with undefined. */
export async function missingClaude(): Promise<string | undefined> {
  try {
    if ((await version()) !== VERSION) await fetch();
    const found = await version();
    return found === VERSION ? undefined : `Claude Code ${VERSION} was fetched, and ${found} was found`;
  } catch (error) {
    return `Claude Code ${VERSION} could not be fetched from npm: ${(error as Error).message.slice(0, 500)}`;
  }
}

async function fetch(): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const options = ["--prefix", directory, "--no-save", "--no-audit", "--no-fund"];
  await run("npm", ["install", ...options, `@anthropic-ai/claude-code@${VERSION}`], { timeout: 300_000 });
  // Its install script puts the native program in place; npm may be set up to run none.
  const own = join(directory, "node_modules/@anthropic-ai/claude-code");
  if ((await version()) !== VERSION)
    await run(process.execPath, ["install.cjs"], { cwd: own, timeout: 60_000 });
}

async function version(): Promise<string | undefined> {
  const command = join(claudeDirectory, "claude");
  if (!existsSync(command)) return undefined;
  const answer = await run(command, ["--version"], { timeout: 60_000 }).catch(() => undefined);
  return answer?.stdout.trim().split(" ")[0];
}
