// `cloche forget`: removes what Cloche keeps of a project, after saying what that is.
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { sizeOf } from "../config/known-projects.ts";
import { formatSize } from "../config/sizes.ts";
import { ClocheError } from "../shared/errors.ts";
import { type CliContext, PROJECT_OPTION } from "./context.ts";
import { listSessions, sessionsText } from "./sessions.ts";

export function registerForget(program: Command, context: CliContext): void {
  program
    .command("forget")
    .description("remove what Cloche keeps of a project: sessions, outputs, loaded files, trust")
    .option(...PROJECT_OPTION)
    .option("-y, --yes", "do not ask")
    .addHelpText(
      "after",
      "\nThe project's own files and what was published stay. A project that was deleted can still be forgotten; `cloche sessions --all` lists all.",
    )
    .action((options: { project?: string; yes?: boolean }) => forget(options, context));
}

async function forget(
  { project, yes }: { project?: string; yes?: boolean },
  context: CliContext,
): Promise<void> {
  const { terminal } = context;
  const config = context.resolveConfig({ mayBeGone: true, ...(project === undefined ? {} : { project }) });
  if (!existsSync(config.paths.projectState)) return terminal.print(`Nothing is kept of ${config.project}.`);
  const sessions = readableSessions(context, config);
  const held = sessions?.filter((session) => session.held) ?? [];
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
  const agreed = yes || (await terminal.confirm("Remove it?"));
  if (agreed === undefined)
    throw new ClocheError("input.invalid", {
      message: "there is no terminal to ask at",
      hint: "Run it in a terminal, or add --yes.",
    });
  if (!agreed) return terminal.print("Nothing was removed.");
  context.forget(config);
  terminal.print("Forgotten.");
}

/** Undefined where a newer Cloche wrote the record: it can be removed, but not listed. */
function readableSessions(context: CliContext, config: Parameters<typeof listSessions>[1]) {
  try {
    return listSessions(context, config);
  } catch (error) {
    if (error instanceof ClocheError && error.code === "store.newer") return undefined;
    throw error;
  }
}
