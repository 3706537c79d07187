// `cloche config`: every setting, its value and where it came from.
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { showSetting } from "../config/project-file.ts";
import { settingNames, settingVariables } from "../config/settings.ts";
import { type CliContext, JSON_OPTION, PROJECT_OPTION } from "./context.ts";
import { columns } from "./text.ts";

const SCHEMA = fileURLToPath(new URL("../config/config.schema.json", import.meta.url));

export function registerConfig(program: Command, { resolveConfig, terminal }: CliContext): void {
  program
    .command("config")
    .description("show each setting and where its value came from")
    .option(...PROJECT_OPTION)
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      `
A setting comes from the first of these that names it: a flag of \`cloche serve\`, the environment
(${Object.values(settingVariables).join(", ")}),
the project's .cloche.json as far as it narrows or is trusted, your config.json, the default.`,
    )
    .action(({ project, json }: { project?: string; json?: boolean }) => {
      const config = resolveConfig(project === undefined ? {} : { project });
      terminal.print(json ? JSON.stringify(asJson(config), null, 2) : asText(config));
    });
}

function asJson(config: Config): unknown {
  const settings = settingNames.map((name) => [name, { value: config[name], origin: config.origins[name] }]);
  return {
    project: { value: config.project, origin: config.origins.project },
    settings: Object.fromEntries(settings),
    warnings: config.warnings,
    trusted: config.projectFile?.trusted ?? null,
    files: {
      config: config.paths.userConfig,
      schema: SCHEMA,
      state: config.paths.state,
      log: config.paths.logFile,
    },
  };
}

function asText(config: Config): string {
  const rows = settingNames.map((name) => [name, showSetting(name, config[name]), config.origins[name]]);
  const trust = config.projectFile && (config.projectFile.trusted ? "trusted" : "may only narrow");
  const files = [
    ["settings", config.paths.userConfig],
    ["their schema", SCHEMA],
    ...(config.projectFile ? [["project file", `${config.projectFile.file} (${trust})`]] : []),
    ["state", config.paths.projectState],
    ["log", config.paths.logFile],
  ];
  return [
    columns([["project", config.project, config.origins.project], ...rows]),
    "",
    columns(files),
    ...config.warnings.map((warning) => `\n! ${warning}`),
  ].join("\n");
}
