// Undoes what setup did, in whatever state it finds the machine; sessions go only with --purge.
import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findClaude, unregisterFromClaudeCode } from "../../claude-integration/claude-code.ts";
import { desktopConfigPath, removeFromDesktop } from "../../claude-integration/claude-desktop.ts";
import type { Installation } from "../../src/config/installation.ts";
import { retireImages } from "./image.ts";
import { launcherPath, removeLauncher } from "./launcher.ts";
import { say } from "./progress.ts";
import type { Site } from "./sandboxes.ts";

export async function uninstall(site: Site, record: Installation | undefined, purge: boolean): Promise<void> {
  const { paths, surroundings, clone, engine } = site;
  const launcher = record?.launcher ?? launcherPath(surroundings);
  await attempt("Claude Code", () => {
    if (unregisterFromClaudeCode(findClaude(surroundings), launcher, surroundings))
      say("Removed the registration with Claude Code.");
  });
  const config = desktopConfigPath(surroundings.home, surroundings.env.XDG_CONFIG_HOME);
  await attempt("Claude Desktop", () => {
    if (config && removeFromDesktop(config, join(clone, "dist/main.js")).changed)
      say("Removed the entry in Claude Desktop's settings.");
  });
  if (removeLauncher(launcher)) say(`Removed ${launcher}.`);
  const { docker } = engine;
  if (docker) await attempt("Docker", () => retireImages(docker, paths.state, []));
  else if (record?.docker) say(`No Docker engine answers: its image ${record.docker.image} stays.`);
  removeState(paths.state, paths.projects, purge);
  const folder = record?.desktopProject;
  if (folder && existsSync(folder)) {
    if (readdirSync(folder).length === 0) rmdirSync(folder);
    else say(`Your files in ${folder} stay.`);
  }
  if (existsSync(paths.userConfig)) say(`Your settings ${paths.userConfig} stay.`);
}

/** One part that cannot be undone does not keep the others. */
async function attempt(what: string, undo: () => void | Promise<void>): Promise<void> {
  try {
    await undo();
  } catch (error) {
    say(`${what}: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}

function removeState(state: string, projects: string, purge: boolean): void {
  if (!existsSync(state)) return;
  for (const name of readdirSync(state)) {
    const path = join(state, name);
    const holdsSessions = path === projects && readdirSync(projects).length > 0;
    if (purge || !holdsSessions) rmSync(path, { recursive: true, force: true });
  }
  if (readdirSync(state).length === 0) rmdirSync(state);
  else say(`Your sessions in ${projects} stay; --purge removes them too.`);
}
