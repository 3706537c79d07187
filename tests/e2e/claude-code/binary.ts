// The real Claude Code, in the version these tests were made with: fetched from npm once, kept below the clone.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
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

/** Fetches beside the place and moves it there whole: test files that run at once may all find it missing. */
async function fetch(): Promise<void> {
  const draft = `${directory}.${process.pid}`;
  mkdirSync(draft, { recursive: true });
  try {
    const options = ["--prefix", draft, "--no-save", "--no-audit", "--no-fund"];
    await run("npm", ["install", ...options, `@anthropic-ai/claude-code@${VERSION}`], { timeout: 300_000 });
    // Its install script puts the native program in place; npm may be set up to run none.
    const own = join(draft, "node_modules/@anthropic-ai/claude-code");
    if ((await version(draft)) !== VERSION)
      await run(process.execPath, ["install.cjs"], { cwd: own, timeout: 60_000 });
    if ((await version()) !== VERSION) {
      rmSync(directory, { recursive: true, force: true });
      renameSync(draft, directory);
    }
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

async function version(place = directory): Promise<string | undefined> {
  const command = join(place, "node_modules/.bin/claude");
  if (!existsSync(command)) return undefined;
  const answer = await run(command, ["--version"], { timeout: 60_000 }).catch(() => undefined);
  return answer?.stdout.trim().split(" ")[0];
}
