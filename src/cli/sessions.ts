// `cloche sessions`: what a project, or every project, keeps and who holds it.
import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { type KnownProject, knownProjects, sizeOf } from "../config/known-projects.ts";
import { formatSize } from "../config/sizes.ts";
import { timeline } from "../session/timeline.ts";
import type { SessionRecord } from "../snapshots/store.ts";
import { type CliContext, JSON_OPTION, PROJECT_OPTION } from "./context.ts";
import { registerCheck } from "./sessions-check.ts";
import { registerExport } from "./sessions-export.ts";
import { registerPrune } from "./sessions-prune.ts";
import { registerShow } from "./sessions-show.ts";
import { ago, columns, count } from "./text.ts";

export interface ListedSession {
  name: string;
  cells: number;
  branches: number;
  /** `bytes` of states and outputs */
  bytes: number;
  /** milliseconds since the epoch */
  lastUsedAt: number;
  /** a living server holds it */
  held: boolean;
}

interface Options {
  project?: string;
  all?: boolean;
  json?: boolean;
}

export function registerSessions(program: Command, context: CliContext): void {
  const sessions = program
    .command("sessions")
    .description("list the sessions; show, prune, check or export them")
    .option(...PROJECT_OPTION)
    .option("--all", "list every project that has state instead")
    .option(...JSON_OPTION)
    .action((options: Options) => list(options, context));
  sessions
    .command("list")
    .description("list the sessions with their branches and sizes (as without a command)")
    .option(...PROJECT_OPTION)
    .option("--all", "list every project that has state instead")
    .option(...JSON_OPTION)
    .action((_: Options, command: Command) => list(command.optsWithGlobals(), context));
  registerShow(sessions, context);
  registerPrune(sessions, context);
  registerExport(sessions, context);
  registerCheck(sessions, context);
}

function list({ project, all, json }: Options, context: CliContext): void {
  const place = project === undefined ? {} : { project };
  const config = context.resolveConfig({ ...place, mayBeBroken: true });
  if (all) {
    const projects = knownProjects(config.paths).map((known) => ({
      ...known,
      bytes: sizeOf(known.state),
    }));
    context.terminal.print(json ? JSON.stringify(projects, null, 2) : projectsText(projects));
    return;
  }
  const sessions = listSessions(context, config);
  context.terminal.print(json ? JSON.stringify(sessions, null, 2) : sessionsText(config, sessions));
}

/** The sessions on record, the one used last first; none where nothing ever ran. */
export function listSessions({ openStore }: CliContext, config: Config): ListedSession[] {
  const { database } = config.paths;
  if (!existsSync(database)) return [];
  using store = openStore(config);
  return store.sessions().map(({ id, name, nextCell, lastUsedAt, holder }: SessionRecord) => {
    const { cells, at, bytes } = store.history(id);
    return {
      name,
      cells: nextCell - 1,
      branches: timeline(cells, at).branches.length,
      bytes: bytes.states + bytes.outputs,
      lastUsedAt,
      held: holder !== null && store.isAlive(holder),
    };
  });
}

export function sessionsText({ project }: Config, sessions: readonly ListedSession[]): string {
  if (sessions.length === 0) return `${project} has no sessions yet.`;
  const rows = sessions.map(({ name, cells, branches, bytes, lastUsedAt, held }) => [
    name,
    count(cells, "cell"),
    branches > 1 ? `${branches} branches` : "1 branch",
    formatSize(bytes),
    ago(lastUsedAt),
    held ? "held by a running server" : "free",
  ]);
  return `${project}\n${columns(rows, "  ")}`;
}

function projectsText(projects: readonly (KnownProject & { bytes: number })[]): string {
  if (projects.length === 0) return "No project has state yet.";
  const rows = projects.map(({ project, bytes, lastUsedAt }) => [
    project,
    formatSize(bytes),
    lastUsedAt === undefined ? "never used" : ago(lastUsedAt),
    existsSync(project) ? "" : "the directory is gone",
  ]);
  return columns(rows);
}
