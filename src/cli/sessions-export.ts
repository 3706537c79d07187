// `cloche sessions export`: the cells that led to where a session is, as a notebook or as a Python file.
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { timeline } from "../session/timeline.ts";
import { ClocheError } from "../shared/errors.ts";
import { type CliContext, PROJECT_OPTION } from "./context.ts";
import { type ExportedCell, notebook, script } from "./notebook.ts";
import { configOf, openSession } from "./one-session.ts";
import { count } from "./text.ts";

interface Options {
  project?: string;
  format: "ipynb" | "py";
  output?: string;
}

export function registerExport(sessions: Command, context: CliContext): void {
  sessions
    .command("export <name>")
    .description("write the cells of the current branch as a notebook or a Python file")
    .option(...PROJECT_OPTION)
    .addOption(new Option("--format <format>", "what to write").choices(["ipynb", "py"]).default("ipynb"))
    .option("-o, --output <file>", "a new file (default: print it)")
    .action((name: string, _: Options, command: Command) =>
      exportSession(name, command.optsWithGlobals<Options>(), context),
    );
}

function exportSession(name: string, options: Options, context: CliContext): void {
  const { store, session } = openSession(configOf(options, context), name, context);
  using _store = store;
  const { cells: past, at } = store.history(session.id);
  const { current } = timeline(past, at);
  // A session that was emptied, or is from before branches were recorded: all there is.
  const numbers = current.length > 0 ? current : past.map(({ cell }) => cell);
  const cells = numbers.map((number): ExportedCell => {
    const { kind, code, output, error } = store.cell(session.id, number)!;
    return { number, kind, code, output, error, images: store.images(session.id, number) };
  });
  const text = options.format === "py" ? script(cells) : notebook(cells);
  if (options.output === undefined) {
    context.terminal.print(text.trimEnd());
    return;
  }
  const path = resolve(options.output);
  try {
    writeFileSync(path, text, { flag: "wx" });
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw new ClocheError("input.invalid", {
      message: exists ? `${path} exists already` : `${path} cannot be written (${(cause as Error).message})`,
      hint: "Name another file with -o.",
      cause,
    });
  }
  context.terminal.print(`Wrote ${count(cells.length, "cell")} to ${path}.`);
}
