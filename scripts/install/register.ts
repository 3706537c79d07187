// Makes Claude Code and Claude Desktop find Cloche, where they are on this machine.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { clientSnippet, findClaude, registerWithClaudeCode } from "../../claude-integration/claude-code.ts";
import { addToDesktop, desktopConfigPath } from "../../claude-integration/claude-desktop.ts";
import type { Surroundings } from "../../src/config/surroundings.ts";
import { ClocheError } from "../../src/shared/errors.ts";
import { carriedEnvironment, type Program } from "./launcher.ts";
import { say } from "./progress.ts";

/** Registers with every client found and says so; resolves with the folder made for Claude Desktop, if any. */
export function register(launcher: string, program: Program, surroundings: Surroundings): string | undefined {
  const claude = findClaude(surroundings);
  const config = desktopConfigPath(surroundings.home, surroundings.env.XDG_CONFIG_HOME);
  if (claude) attempt(() => registerWithCode(claude, launcher, surroundings));
  else {
    say("Claude Code is not here. When it is, run ./setup.sh again, or:");
    say(`  claude mcp add -s user cloche -- ${launcher} serve`);
  }
  if (!claude && !config) showSnippet(launcher);
  return config && attempt(() => registerWithDesktop(config, program, surroundings));
}

/** A client that cannot be registered with does not keep the rest from being set up, but setup ends with 1. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    say(error instanceof ClocheError ? error.sentence : (error as Error).message);
    process.exitCode = 1;
    return undefined;
  }
}

function registerWithCode(claude: string, launcher: string, surroundings: Surroundings): void {
  const outcome = registerWithClaudeCode(claude, launcher, surroundings);
  if (outcome === "unchanged") say("Claude Code: already registered.");
  else say(`Claude Code: ${outcome === "added" ? "registered" : "registration renewed"} for this user.`);
}

function registerWithDesktop(config: string, { node, main }: Program, { env, home }: Surroundings): string {
  const project = join(home, "Cloche");
  const carried = carriedEnvironment(env);
  mkdirSync(project, { recursive: true });
  const change = addToDesktop(config, {
    command: node,
    args: [main, "serve", "--project", project],
    ...(Object.keys(carried).length > 0 ? { env: carried } : {}),
  });
  if (!change.changed) say("Claude Desktop: already registered.");
  else {
    const kept = change.backup ? `; the settings as they were: ${change.backup}` : "";
    say(
      `Claude Desktop: registered, with the folder ${project} for its files${kept}. Restart it to see Cloche.`,
    );
  }
  return project;
}

export function showSnippet(launcher: string): void {
  say("For any other MCP client:");
  say(clientSnippet(launcher));
}
