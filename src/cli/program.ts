// argv → command. Each command registers itself; what fails becomes one sentence and an exit code.
import { Command, CommanderError } from "commander";
import { cliContext } from "../app.ts";
import { asClocheError } from "../shared/errors.ts";
import { VERSION } from "../version.ts";
import { registerCommands } from "./commands.ts";
import { registerServe } from "./serve.ts";
import { processTerminal } from "./terminal.ts";

/**
 * Runs the command that argv names; resolves when it is done or serves. Ends the process where it fails. `step` is told
 * each step of what a server keeps and brings back, for tests that end the process there.
 */
export async function run(step?: (name: string) => void): Promise<void> {
  const program = new Command("cloche")
    .description("One persistent Python session for Claude, in a sealed sandbox.")
    .version(VERSION)
    .exitOverride()
    .showSuggestionAfterError()
    .showHelpAfterError("Run cloche --help for what there is.");
  registerServe(program, step);
  registerCommands(program, cliContext(processTerminal()));

  try {
    await program.parseAsync();
  } catch (thrown) {
    if (thrown instanceof CommanderError) process.exit(thrown.exitCode === 0 ? 0 : 2);
    const error = asClocheError(thrown);
    process.stderr.write(`cloche: ${error.sentence}\n`);
    process.exit(error.code === "config.invalid" || error.code === "input.invalid" ? 2 : 1);
  }
}
