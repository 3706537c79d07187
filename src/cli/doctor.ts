// `cloche doctor`: which sandbox would serve, what it truly enforces, what is missing and how to fix it.
import { accessSync, constants, existsSync } from "node:fs";
import { dirname } from "node:path";
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import type { Sandbox, SandboxReport } from "../sandboxes/sandbox.ts";
import { asClocheError } from "../shared/errors.ts";
import { type CliContext, JSON_OPTION, PROJECT_OPTION } from "./context.ts";
import { columns } from "./text.ts";

interface Problem {
  problem: string;
  remedy: string;
}

interface Diagnosis {
  /** the sandbox that would serve */
  serves: SandboxReport["kind"] | null;
  sandboxes: SandboxReport[];
  /** of the machine and the installation; none of them alone keeps a sandbox from serving */
  problems: Problem[];
  warnings: string[];
}

export function registerDoctor(program: Command, { resolveConfig, sandboxes, terminal }: CliContext): void {
  program
    .command("doctor")
    .description("say which sandbox would serve and what is missing")
    .option(...PROJECT_OPTION)
    .option("--sandbox <kind>", "docker, bubblewrap or auto")
    .option(...JSON_OPTION)
    .addHelpText("after", "\nIt starts nothing. The exit code is 1 when no sandbox can serve.")
    .action(async ({ json, ...options }: { project?: string; sandbox?: string; json?: boolean }) => {
      const config = resolveConfig(options);
      const diagnosis = await diagnose(config, await sandboxes(config));
      terminal.print(json ? JSON.stringify(diagnosis, null, 2) : asText(config, diagnosis));
      if (diagnosis.serves === null) terminal.exitWith(1);
    });
}

async function diagnose(config: Config, sandboxes: readonly Sandbox[]): Promise<Diagnosis> {
  const reports = await Promise.all(sandboxes.map(inspect));
  const serving = reports.find(
    ({ kind, available }) => available && (config.sandbox === "auto" || config.sandbox === kind),
  );
  return {
    serves: serving?.kind ?? null,
    sandboxes: reports,
    problems: machineProblems(config),
    warnings: config.warnings,
  };
}

/** A report even where looking itself failed. */
async function inspect(sandbox: Sandbox): Promise<SandboxReport> {
  try {
    return await sandbox.inspect();
  } catch (thrown) {
    const { message, hint } = asClocheError(thrown);
    const { kind } = sandbox;
    return {
      kind,
      available: false,
      details: [],
      limits: {},
      problems: [{ problem: message, remedy: hint }],
    };
  }
}

function machineProblems({ installation, paths }: Config): Problem[] {
  const problems: Problem[] = [];
  if (!installation)
    problems.push({ problem: "set-up has not run for this user", remedy: "Run ./setup.sh in the clone." });
  else if (!existsSync(installation.node))
    problems.push({
      problem: `the Node it was set up with, ${installation.node}, is gone`,
      remedy: "Run ./setup.sh again.",
    });
  let directory = paths.state;
  while (!existsSync(directory)) directory = dirname(directory);
  try {
    accessSync(directory, constants.W_OK);
  } catch {
    problems.push({
      problem: `the state directory ${paths.state} cannot be written`,
      remedy: "Make it writable for this user, or set XDG_STATE_HOME to a directory that is.",
    });
  }
  return problems;
}

function asText(config: Config, { serves, sandboxes, problems, warnings }: Diagnosis): string {
  const verdict =
    serves === null
      ? `No sandbox can serve${config.sandbox === "auto" ? "" : ` (${config.sandbox} is asked for by ${config.origins.sandbox})`}. Cloche refuses to run code until one can.`
      : `Cells run in ${serves}.`;
  return [
    verdict,
    ...sandboxes.map((report) => reportText(report, report.kind === serves)),
    ...problems.map((problem) => `\n! ${problemText(problem)}`),
    ...warnings.map((warning) => `\n! ${warning}`),
  ].join("\n");
}

function reportText({ kind, available, details, limits, problems }: SandboxReport, serves: boolean): string {
  const state = serves ? "serves" : available ? "could serve too" : "cannot serve";
  return [
    `\n${kind}: ${state}`,
    ...details.map((detail) => `  ${detail}`),
    columns(Object.entries(limits), "  "),
    ...problems.map((problem) => `  ! ${problemText(problem)}`),
  ]
    .filter((line) => line !== "")
    .join("\n");
}

/** A remedy may be several lines to copy, such as a profile; they keep their shape. */
function problemText({ problem, remedy }: Problem): string {
  const [first = "", ...rest] = remedy.split("\n");
  const said = `${problem.replace(/\.$/, "")}. ${first}`;
  return [said, ...rest.map((line) => `    ${line}`)].join("\n");
}
