// `cloche forget`: removes what Cloche keeps of a project, or of one of its sessions, after saying what that is.
import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { sizeOf } from "../config/known-projects.ts";
import { formatSize } from "../config/sizes.ts";
import { ClocheError } from "../shared/errors.ts";
import { isAgreed } from "./agreement.ts";
import { type CliContext, PROJECT_OPTION } from "./context.ts";
import { listSessions, sessionsText } from "./sessions.ts";

interface Options {
  project?: string;
  session?: string;
  yes?: boolean;
}

export function registerForget(program: Command, context: CliContext): void {
  program
    .command("forget")
    .description("remove what is kept of a project, or of one session")
    .option(...PROJECT_OPTION)
    .option("--session <name>", "only this session: its cells, outputs and figures")
    .option("-y, --yes", "do not ask")
    .addHelpText(
      "after",
      "\nSessions, outputs, loaded files and trust go; the project's own files and what was published stay. A project\nthat was deleted can still be forgotten; `cloche sessions --all` lists all.",
    )
    .action((options: Options) => forget(options, context));
}

async function forget({ project, session, yes }: Options, context: CliContext): Promise<void> {
  const { terminal } = context;
  const place = project === undefined ? {} : { project };
  const config = context.resolveConfig({ ...place, mayBeGone: true, mayBeBroken: true });
  if (session !== undefined) return forgetSession(config, session, yes, context);
  if (!existsSync(config.paths.projectState)) return terminal.print(`Nothing is kept of ${config.project}.`);
  const sessions = readableSessions(context, config);
  const held = sessions?.filter((one) => one.held) ?? [];
  if (held.length > 0)
    throw new ClocheError("store.busy", {
      message: `a running server holds ${held.map(({ name }) => name).join(", ")} of ${config.project}`,
      hint: "Close the Claude sessions and clients that use the project, then run this again.",
    });
  terminal.print(
    [
      sessions
        ? sessionsText(config, sessions)
        : `${config.project}: the record of its sessions cannot be read.`,
      `This removes ${formatSize(sizeOf(config.paths.projectState))} in ${config.paths.projectState}.`,
      `The project's own files, ${config.output}/ included, stay.`,
    ].join("\n"),
  );
  if (!(await isAgreed(terminal, "Remove it?", yes))) return terminal.print("Nothing was removed.");
  context.forget(config);
  terminal.print("Forgotten.");
}

async function forgetSession(
  config: Config,
  name: string,
  yes: boolean | undefined,
  context: CliContext,
): Promise<void> {
  const { terminal } = context;
  const found = listSessions(context, config).find((session) => session.name === name);
  if (!found)
    throw new ClocheError("input.invalid", {
      message: `${config.project} has no session ${name}`,
      hint: "`cloche sessions` lists them.",
    });
  if (!found.held) {
    terminal.print(sessionsText(config, [found]));
    terminal.print("This removes its cells, outputs and figures. What it published stays.");
    if (!(await isAgreed(terminal, `Remove session ${name}?`, yes)))
      return terminal.print("Nothing was removed.");
  }
  // It may have been taken while the person was asked; the store has the last word.
  using store = context.openStore(config);
  store.remove(name);
  terminal.print("Forgotten.");
}

/** Undefined where a newer Cloche wrote the record: it can be removed, but not listed. */
function readableSessions(context: CliContext, config: Config) {
  try {
    return listSessions(context, config);
  } catch (error) {
    if (error instanceof ClocheError && error.code === "store.newer") return undefined;
    throw error;
  }
}
