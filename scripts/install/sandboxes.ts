// Decides which sandboxes this machine gets and makes them ready; what only root can install is asked for here.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import type { Installation } from "../../src/config/installation.ts";
import type { Paths } from "../../src/config/paths.ts";
import type { Surroundings } from "../../src/config/surroundings.ts";
import { dockerEnvironment } from "../../src/config/surroundings.ts";
import { ClocheError } from "../../src/shared/errors.ts";
import { findCommand } from "../../src/shared/find-command.ts";
import type { FoundEngine } from "./engine.ts";
import { BaseUnavailable, prepareImage } from "./image.ts";
import { findInterpreter, isPublic } from "./interpreter.ts";
import type { Options } from "./options.ts";
import { say } from "./progress.ts";
import { prepareEnvironment } from "./python-environment.ts";

export interface Site {
  clone: string;
  paths: Paths;
  surroundings: Surroundings;
  engine: FoundEngine;
  /** name of the base image; the Dockerfile's own where absent */
  base: string | undefined;
  /** the user's own requirements, as text */
  packages: string | undefined;
}

export type Prepared = Pick<Installation, "docker" | "python">;

/** Makes the sandboxes that `options` ask for. Throws `sandbox.unavailable` where none of them can be had. */
export async function prepareSandboxes(site: Site, options: Options): Promise<Prepared> {
  switch (options.sandbox) {
    case "docker":
      return { docker: await docker(site) };
    case "bubblewrap":
      return { python: await bubblewrap(site, options) };
    case "all":
      return { docker: await docker(site), python: await bubblewrap(site, options) };
    case "auto":
      return auto(site, options);
  }
}

async function auto(site: Site, options: Options): Promise<Prepared> {
  if (site.engine.docker) {
    try {
      return { docker: await docker(site) };
    } catch (error) {
      if (!(error instanceof BaseUnavailable)) throw error;
      say(`Docker answers, but ${error.message}. Going on as if there were no Docker;`);
      say("--base-image names another base, such as one on your company's mirror.");
    }
  } else if (process.platform === "linux") say(`Without Docker: ${site.engine.problem.message}.`);
  return { python: await bubblewrap(site, options) };
}

/** Both, as far as they can be made without root and without asking: what the tests want to run in. */
export async function prepareWhatIsThere(site: Site, options: Options): Promise<Prepared> {
  const { env } = site.surroundings;
  const prepared: Prepared = {};
  if (site.engine.docker) {
    try {
      prepared.docker = await docker(site);
    } catch (error) {
      say(`No Docker sandbox for the tests: ${(error as Error).message}`);
    }
  }
  if (findCommand("bwrap", env.PATH) && findInterpreter(env.PATH, site.surroundings.uid))
    prepared.python = await bubblewrap(site, options);
  return prepared;
}

async function docker({ engine, clone, base, paths, packages, surroundings }: Site) {
  if (!engine.docker) throw engine.problem;
  return prepareImage({
    engine: engine.docker,
    sources: join(clone, "sandbox"),
    base,
    packages,
    env: surroundings.env,
    dockerConfig: dockerEnvironment(surroundings).configDirectory,
    owner: paths.state,
  });
}

async function bubblewrap({ clone, engine, paths, packages, surroundings }: Site, options: Options) {
  const { env, uid } = surroundings;
  if (process.platform !== "linux") {
    throw new ClocheError("sandbox.unavailable", {
      message: `on this system Cloche needs Docker, and ${engine.problem?.message ?? "its image could not be made"}`,
      hint: engine.problem?.hint ?? "Name a base that can be had with --base-image.",
    });
  }
  const missing = () => [
    ...(findCommand("bwrap", env.PATH) ? [] : ["bubblewrap"]),
    ...(findInterpreter(env.PATH, uid) ? [] : ["python"]),
  ];
  const needed = missing();
  if (needed.length > 0) installForRoot(clone, needed, options);
  const interpreter = findInterpreter(env.PATH, uid);
  if (!interpreter || missing().length > 0) {
    throw new ClocheError("sandbox.unavailable", {
      message: `still missing: ${missing().join(", ")} (a Python of 3.11 to 3.14 with venv counts)`,
      hint: "Install what the line above names, then run ./setup.sh again.",
    });
  }
  const environment = await prepareEnvironment({
    sources: join(clone, "sandbox"),
    directory: paths.python,
    interpreter,
    packages,
    env,
  });
  if (uid === 0 && !isPublic(environment)) {
    throw new ClocheError("sandbox.unavailable", {
      message: `${environment} lies below a directory that only root can enter, and the sandbox runs as another user`,
      hint: "Unset XDG_STATE_HOME, or let it name a directory that everyone may traverse (chmod o+x).",
    });
  }
  return {
    environment,
    interpreter: interpreter.executable,
    prefix: interpreter.prefix,
    version: interpreter.version,
  };
}

/** Shows the line that installs `missing` and runs it on consent; ends the set-up with its code where it did not. */
function installForRoot(clone: string, missing: string[], { yes }: Options): void {
  const script = join(clone, "scripts/system-packages.sh");
  const asked = spawnSync(script, [...(yes ? ["--yes"] : []), ...missing], {
    stdio: "inherit",
  });
  if (asked.status !== 0) {
    throw new ClocheError("sandbox.unavailable", {
      message: "the sandbox was not made",
      hint: "Without Docker it needs what that line installs.",
      data: { exitCode: asked.status ?? 1 },
    });
  }
}
