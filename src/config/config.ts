// Options → resolve → Config: every setting with its origin. A setting comes from the first of: a flag, the
// environment, the project's .cloche.json (as far as it narrows or is trusted), config.json, the default.
import { dirname, join } from "node:path";
import type { Limits } from "../sandboxes/sandbox.ts";
import { asClocheError } from "../shared/errors.ts";
import { parseSetting, parseSettings, readSettingsBytes } from "./config-file.ts";
import { assign, type Draft } from "./draft.ts";
import { type Installation, readInstallation } from "./installation.ts";
import { type Paths, pathsFor } from "./paths.ts";
import { resolveProject } from "./project-directory.ts";
import { applyProject, type ProjectRequest } from "./project-file.ts";
import { resolveRoots } from "./roots.ts";
import {
  defaultSettings,
  type SettingName,
  type Settings,
  settingNames,
  settingVariables,
} from "./settings.ts";
import { formatSize } from "./sizes.ts";
import {
  type DockerEnvironment,
  dockerEnvironment,
  readSurroundings,
  type Surroundings,
} from "./surroundings.ts";
import { contentHash, isTrusted } from "./trust.ts";

/** What the command line gave, as text. */
export type ConfigOptions = {
  project?: string;
  /** the project directory may have been deleted */
  mayBeGone?: boolean;
  /** a .cloche.json that cannot be used is passed over with a warning */
  mayBeBroken?: boolean;
} & { [Name in SettingName]?: string };

/** Plain data; sizes in `bytes`. */
export interface Config extends Settings {
  /** real path of the project directory */
  project: string;
  /** what one session may use */
  limits: Limits;
  /** where each value came from: "default", a file, "environment CLOCHE_MEMORY", "--sandbox" */
  origins: Record<SettingName | "project", string>;
  /** sentences the person should read: ignored keys, missing roots */
  warnings: string[];
  paths: Paths;
  /** directories that load never reads, whatever the roots: the settings and the state */
  guarded: string[];
  docker: DockerEnvironment;
  /** the project's .cloche.json, where there is one */
  projectFile?: ProjectRequest;
  /** Claude runs this command, not the person */
  byClaude: boolean;
  /** what set-up made; absent before it ran */
  installation?: Installation;
  home: string;
  uid: number;
}

export const PROJECT_FILE = ".cloche.json";

/** Throws `config.invalid`, naming the file, flag or variable and the key. */
export function resolveConfig(
  options: ConfigOptions = {},
  surroundings: Surroundings = readSurroundings(),
): Config {
  const project = resolveProject(options.project, surroundings, options.mayBeGone);
  const paths = pathsFor(project.path, surroundings);
  const draft: Draft = {
    values: defaultSettings(surroundings),
    origins: Object.fromEntries(settingNames.map((name) => [name, "default"])) as Draft["origins"],
    warnings: [...project.warnings],
  };

  const own = readSettingsBytes(paths.userConfig, paths.userConfig, true);
  if (own) {
    const settings = parseSettings(own, paths.userConfig);
    if (settings.roots) {
      const { roots, warnings } = resolveRoots(settings.roots, paths.userConfig, surroundings.home);
      settings.roots = roots;
      draft.warnings.push(...warnings);
    }
    assign(draft, settings, paths.userConfig);
    fitTmpfs(draft);
  }

  const projectFile = takeProjectFile(
    draft,
    project.path,
    paths.trust,
    surroundings.home,
    options.mayBeBroken,
  );

  for (const name of settingNames) {
    const variable = settingVariables[name];
    const text = variable === undefined ? undefined : surroundings.env[variable];
    if (text) assign(draft, parseSetting(name, text, `the variable ${variable}`), `environment ${variable}`);
    const flag = options[name];
    if (flag !== undefined) assign(draft, parseSetting(name, flag, flagName(name)), flagName(name));
  }
  fit(draft, surroundings);

  const installation = readInstallation(paths.state);
  const { values, warnings } = draft;
  return {
    ...values,
    project: project.path,
    limits: { memory: values.memory, cpus: values.cpus, processes: values.processes, tmpfs: values.tmpfs },
    origins: { project: project.origin, ...draft.origins },
    warnings,
    paths,
    guarded: [paths.state, dirname(paths.userConfig)],
    docker: dockerEnvironment(surroundings, values.dockerHost),
    ...(projectFile ? { projectFile } : {}),
    byClaude: Boolean(surroundings.env.CLAUDECODE),
    ...(installation ? { installation } : {}),
    home: surroundings.home,
    uid: surroundings.uid,
  };
}

/** What the project's own file changes, as far as it may; undefined where there is none, or none that can be used. */
function takeProjectFile(
  draft: Draft,
  project: string,
  trust: string,
  home: string,
  mayBeBroken = false,
): ProjectRequest | undefined {
  const file = join(project, PROJECT_FILE);
  try {
    const bytes = readSettingsBytes(file, file, false);
    if (!bytes) return undefined;
    const trusted = isTrusted(trust, project, bytes);
    return applyProject(draft, parseSettings(bytes, file), {
      file,
      sha256: contentHash(bytes),
      trusted,
      home,
    });
  } catch (error) {
    if (!mayBeBroken) throw error;
    draft.warnings.push(asClocheError(error).sentence);
    return undefined;
  }
}

/** Brings values that depend on each other or on the machine in line. */
function fit({ values, origins, warnings }: Draft, { memory, cpus }: Surroundings): void {
  if (values.cpus > cpus) {
    warnings.push(
      `cpus is ${values.cpus} (${origins.cpus}), but this machine has ${cpus}: ${cpus} are used.`,
    );
    values.cpus = cpus;
  }
  if (values.memory > memory && origins.memory !== "default")
    warnings.push(
      `memory is ${formatSize(values.memory)} (${origins.memory}), but this machine has ${formatSize(memory)}.`,
    );
  fitTmpfs({ values, origins });
}

/** A quarter of memory unless it is given, and never more than memory. */
function fitTmpfs({ values, origins }: Pick<Draft, "values" | "origins">): void {
  if (origins.tmpfs === "default") values.tmpfs = Math.floor(values.memory / 4);
  else values.tmpfs = Math.min(values.tmpfs, values.memory);
}

function flagName(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
