// `cloche trust`: the person reads what a project's .cloche.json asks for, and agrees to exactly that content or not.
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { prepareState } from "../config/paths.ts";
import { recordTrust, revokeTrust } from "../config/trust.ts";
import { ClocheError } from "../shared/errors.ts";
import { isAgreed } from "./agreement.ts";
import { type CliContext, PROJECT_OPTION } from "./context.ts";

interface Options {
  project?: string;
  show?: boolean;
  revoke?: boolean;
  yes?: boolean;
}

export function registerTrust(program: Command, context: CliContext): void {
  program
    .command("trust")
    .description("let the project's .cloche.json widen settings")
    .option(...PROJECT_OPTION)
    .option("--show", "only show what it asks for and whether it is trusted")
    .option("--revoke", "trust it no longer")
    .option("-y, --yes", "do not ask")
    .addHelpText(
      "after",
      "\nTrust holds for one project and one content: a file that changes is asked about again.",
    )
    .action((options: Options) => trust(options, context));
}

async function trust(
  { project, show, revoke, yes }: Options,
  { resolveConfig, terminal }: CliContext,
): Promise<void> {
  const place = project === undefined ? {} : { project };
  if (revoke) {
    const { paths, project: path } = resolveConfig({ ...place, mayBeGone: true, mayBeBroken: true });
    revokeTrust(paths.trust);
    return terminal.print(`The .cloche.json of ${path} may only narrow from now on.`);
  }
  const config = resolveConfig(place);
  terminal.print(describe(config));
  const request = config.projectFile;
  if (show || !request || request.trusted) return;
  if (request.asks.length === 0) return terminal.print("There is nothing to agree to.");
  if (config.byClaude)
    throw new ClocheError("project.untrusted", {
      message: "trusting a project is the person's decision, and this command was run by Claude",
      hint: "Run `cloche trust` in a terminal of your own.",
    });
  if (!(await isAgreed(terminal, "Trust this content?", yes))) return terminal.print("Nothing was changed.");
  prepareState(config.paths, config.uid);
  recordTrust(config.paths.trust, config.project, request.sha256);
  terminal.print("Trusted. Servers that start from now on follow it.");
}

function describe({ project, projectFile }: Config): string {
  if (!projectFile) return `${project} has no .cloche.json: nothing to trust.`;
  const { file, asks, trusted } = projectFile;
  if (asks.length === 0)
    return `${file} asks for nothing beyond your own settings; what it narrows holds already.`;
  const state = trusted ? "It is trusted, so this holds:" : "It is not trusted, so this is ignored:";
  return [
    `${file} asks for more than your own settings allow. ${state}`,
    ...asks.map((one) => `- ${one}`),
  ].join("\n");
}
