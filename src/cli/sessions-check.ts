// `cloche sessions check`: reads all that is kept and compares it with its sums.
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { type CliContext, PROJECT_OPTION } from "./context.ts";
import { configOf } from "./one-session.ts";
import { count } from "./text.ts";

export function registerCheck(sessions: Command, context: CliContext): void {
  sessions
    .command("check")
    .description("read all that is kept and say whether it is damaged")
    .option(...PROJECT_OPTION)
    .addHelpText(
      "after",
      "\nWhat is damaged is taken out of use, and the rest stays. The exit code is 1 where something is.",
    )
    .action(async (_: object, command: Command) => {
      const { terminal } = context;
      const config = configOf(command.optsWithGlobals<{ project?: string }>(), context);
      if (!existsSync(config.paths.database)) {
        terminal.print(`${config.project} has no sessions yet.`);
        return;
      }
      using cleaner = context.openCleaner(config);
      const page = cleaner.store.check();
      const damaged = await cleaner.check();
      if (page !== undefined)
        terminal.print(
          `The record is damaged (${page}). What can be read of it is saved when it is opened next.`,
        );
      if (damaged > 0)
        terminal.print(
          `${count(damaged, "piece")} of states are damaged: variables in them come back as placeholders that say so.`,
        );
      if (page !== undefined || damaged > 0) terminal.exitWith(1);
      else terminal.print("All that is kept is whole.");
    });
}
