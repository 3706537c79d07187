// Options → resolve → Config: every setting with its origin. A setting comes from the first of: a flag, the
// environment, the project's .cloche.json (as far as it narrows or is trusted), config.json, the default.
import { realpathSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Limits } from "../sandboxes/sandbox.ts";
import { ClocheError } from "../shared/errors.ts";
import { parseSetting, parseSettings, readSettingsBytes } from "./config-file.ts";
import { assign, type Draft } from "./draft.ts";
import { type Installation, readInstallation } from "./installation.ts";
import { type Paths, pathsFor } from "./paths.ts";
import { applyProject } from "./project-file.ts";
import { isWithin, resolveRoots } from "./roots.ts";
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
import { isTrusted } from "./trust.ts";

/** What the command line gave, as text. */
export type ConfigOptions = { project?: string } & { [Name in SettingName]?: string };

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
  const project = resolveProject(options.project, surroundings);
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
  }

  const projectFile = join(project.path, PROJECT_FILE);
  const theirs = readSettingsBytes(projectFile, projectFile, false);
  if (theirs) {
    const trusted = isTrusted(paths.trust, project.path, theirs);
    applyProject(draft, parseSettings(theirs, projectFile), {
      file: projectFile,
      trusted,
      home: surroundings.home,
    });
  }

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
    ...(installation ? { installation } : {}),
    home: surroundings.home,
    uid: surroundings.uid,
  };
}

/**
 * The flag wins over CLAUDE_PROJECT_DIR: it was written for this one call or registration, while the variable is
 * whatever the client happens to have open.
 */
function resolveProject(flag: string | undefined, { env, cwd, home }: Surroundings) {
  const [given, origin] =
    flag !== undefined
      ? [flag, "--project"]
      : env.CLAUDE_PROJECT_DIR
        ? [env.CLAUDE_PROJECT_DIR, "environment CLAUDE_PROJECT_DIR"]
        : [cwd, "working directory"];
  const refuse = (why: string, cause?: unknown) =>
    new ClocheError("config.invalid", {
      message: `the project directory ${JSON.stringify(given)} (${origin}) ${why}`,
      hint: "Name one with --project DIR, or start Cloche in it.",
      cause,
    });
  let path: string;
  try {
    path = realpathSync(resolve(cwd, given));
  } catch (cause) {
    throw refuse(
      (cause as NodeJS.ErrnoException).code === "ENOENT" ? "does not exist" : "cannot be read",
      cause,
    );
  }
  if (!statSync(path).isDirectory()) throw refuse("is not a directory");
  if (path === "/") throw refuse("is the whole file system");
  const warnings = isWithin(home, path)
    ? [
        `The project directory is ${path}, so load may read all of it but keys and credentials; --project names a smaller one.`,
      ]
    : [];
  return { path, origin, warnings };
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
  const quarter = Math.floor(values.memory / 4);
  if (origins.tmpfs === "default") values.tmpfs = quarter;
  else values.tmpfs = Math.min(values.tmpfs, values.memory);
}

function flagName(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
