// Registers Cloche with Claude Code through its own command line, and says what to paste where that is absent.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Surroundings } from "../src/config/surroundings.ts";
import { findCommand } from "../src/shared/find-command.ts";
import type { ServerEntry } from "./claude-desktop.ts";

const NAME = "cloche";

/** Where Claude Code is: on the path, or where its own installers put it. */
export function findClaude({ env, home }: Surroundings): string | undefined {
  return findCommand("claude", [env.PATH, join(home, ".local/bin"), join(home, ".claude/local")].join(":"));
}

/** Registers `launcher serve` for the user; "unchanged" where it already stands so. Throws with what claude said. */
export function registerWithClaudeCode(
  claude: string,
  launcher: string,
  surroundings: Surroundings,
): "added" | "renewed" | "unchanged" {
  const standing = registered(surroundings);
  if (standing?.command === launcher && standing.args?.join(" ") === "serve") return "unchanged";
  if (standing) ask(claude, surroundings, ["mcp", "remove", "-s", "user", NAME]);
  ask(claude, surroundings, ["mcp", "add", "-s", "user", NAME, "--", launcher, "serve"]);
  return standing ? "renewed" : "added";
}

/** Removes the registration if it starts `launcher`; says whether it did. */
export function unregisterFromClaudeCode(
  claude: string | undefined,
  launcher: string,
  surroundings: Surroundings,
): boolean {
  if (claude === undefined || registered(surroundings)?.command !== launcher) return false;
  ask(claude, surroundings, ["mcp", "remove", "-s", "user", NAME]);
  return true;
}

/** The user's registration as Claude Code keeps it; read only, every change goes through its command line. */
function registered({ env, home }: Surroundings): ServerEntry | undefined {
  try {
    const text = readFileSync(join(env.CLAUDE_CONFIG_DIR || home, ".claude.json"), "utf8");
    return (JSON.parse(text) as { mcpServers?: Record<string, ServerEntry> }).mcpServers?.[NAME];
  } catch {
    return undefined;
  }
}

function ask(claude: string, { env, home }: Surroundings, args: string[]): void {
  const answer = spawnSync(claude, args, {
    cwd: home,
    env: { ...env },
    encoding: "utf8",
    timeout: 60_000,
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (answer.status !== 0) {
    const said =
      `${answer.stdout ?? ""}${answer.stderr ?? ""}`.trim() || answer.error?.message || "no answer";
    throw new Error(`claude ${args.slice(0, 2).join(" ")} failed: ${said}`);
  }
}

/** What to paste into any MCP client's settings. */
export function clientSnippet(launcher: string): string {
  return JSON.stringify({ mcpServers: { [NAME]: { command: launcher, args: ["serve"] } } }, null, 2);
}
