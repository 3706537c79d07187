// Makes Claude Code and Claude Desktop find Cloche, where they are on this machine.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { clientSnippet, findClaude, registerWithClaudeCode } from "../../claude-integration/claude-code.ts";
import { addToDesktop, desktopConfigPath } from "../../claude-integration/claude-desktop.ts";
import type { Surroundings } from "../../src/config/surroundings.ts";
import { ClocheError } from "../../src/shared/errors.ts";
import { carriedEnvironment, type Program } from "./launcher.ts";
import { say } from "./progress.ts";

/** What was registered with. */
export interface Registered {
  code: boolean;
  /** the folder made for Claude Desktop's files */
  desktopProject: string | undefined;
}

/** Registers with every client found and says so. */
export function register(launcher: string, program: Program, surroundings: Surroundings): Registered {
  const claude = findClaude(surroundings);
  const config = desktopConfigPath(surroundings.home, surroundings.env.XDG_CONFIG_HOME);
  const code =
    claude !== undefined && attempt(() => registerWithCode(claude, launcher, surroundings)) === true;
  if (!claude) {
    say("Claude Code is not here. When it is, run ./setup.sh again, or:");
    say(`  claude mcp add -s user cloche -- ${launcher} serve`);
  }
  if (!claude && !config) showSnippet(launcher);
  const desktopProject = config && attempt(() => registerWithDesktop(config, program, surroundings));
  return { code, desktopProject };
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

function registerWithCode(claude: string, launcher: string, surroundings: Surroundings): true {
  const outcome = registerWithClaudeCode(claude, launcher, surroundings);
  if (outcome === "unchanged") say("Claude Code: already registered.");
  else say(`Claude Code: ${outcome === "added" ? "registered" : "registration renewed"} for this user.`);
  return true;
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

/** What the person does now, with what is really there. */
export function nextStep({ code, desktopProject }: Registered): string {
  if (code && desktopProject)
    return "Open Claude Code in a project, or restart Claude Desktop, and ask it to look at a file with Cloche.";
  if (code) return "Open Claude Code in a project and ask it to look at a file with Cloche.";
  if (desktopProject) return "Restart Claude Desktop and ask it to look at a file with Cloche.";
  return "Add it to an MCP client as shown above, and ask that to look at a file with it.";
}
