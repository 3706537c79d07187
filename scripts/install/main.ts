// The second half of setup.sh, once Node, packages and build are there: sandbox, launcher, registration, proof.
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Installation, readInstallation, writeInstallation } from "../../src/config/installation.ts";
import { pathsFor } from "../../src/config/paths.ts";
import { readSurroundings } from "../../src/config/surroundings.ts";
import { asClocheError, ClocheError } from "../../src/shared/errors.ts";
import { findEngine } from "./engine.ts";
import { retireImages } from "./image.ts";
import { carriedEnvironment, launcherPath, writeLauncher } from "./launcher.ts";
import { type Options, parseOptions } from "./options.ts";
import { say } from "./progress.ts";
import { prove } from "./prove.ts";
import { retireEnvironments } from "./python-environment.ts";
import { nextStep, type Registered, register, showSnippet } from "./register.ts";
import { type Prepared, prepareSandboxes, prepareWhatIsThere, type Site } from "./sandboxes.ts";
import { uninstall } from "./uninstall.ts";

const clone = resolve(import.meta.dirname, "../..");
const program = { node: process.execPath, main: join(clone, "dist/main.js") };

async function main(options: Options): Promise<void> {
  // Whatever the shell's mask, the sandbox's user must be able to read what is made here.
  process.umask(0o022);
  const surroundings = readSurroundings();
  const paths = pathsFor(clone, surroundings);
  const before = recordOf(paths.state);
  const engine = await findEngine(surroundings, clone);
  const packages = wantedPackages(options, before);
  const base = options.baseImage ?? before?.docker?.base;
  const site: Site = { clone, paths, surroundings, engine, base, packages };
  if (options.uninstall) return uninstall(site, before, options.purge);

  mkdirSync(paths.state, { recursive: true, mode: 0o711 });
  const prepared = await (options.prepare ? prepareWhatIsThere : prepareSandboxes)(site, options);
  const record: Installation = {
    ...before,
    version: 1,
    clone,
    node: program.node,
    docker: prepared.docker ?? current(before?.docker, before, packages),
    python: prepared.python ?? current(before?.python, before, packages),
    packages,
    sandbox: options.prepare ? before?.sandbox : prepared.docker ? "docker" : "bubblewrap",
  };
  if (!options.prepare) {
    record.launcher = launcherPath(surroundings);
    writeLauncher(record.launcher, program, carriedEnvironment(surroundings.env));
  }
  writeInstallation(paths.state, record);
  retireEnvironments(paths.python, [record.python?.environment, before?.python?.environment]);
  if (engine.docker)
    await retireImages(engine.docker, paths.state, [record.docker?.image, before?.docker?.image]);
  if (options.prepare || !record.launcher) return;

  let registered: Registered = { code: false, desktopProject: undefined };
  if (options.register) {
    registered = register(record.launcher, program, surroundings);
    const { desktopProject } = registered;
    if (desktopProject) writeInstallation(paths.state, { ...record, desktopProject });
  } else showSnippet(record.launcher);
  await showProof(record.launcher, prepared, options);
  closingWords(record.launcher, surroundings.env.PATH, registered);
}

/** The record of an earlier set-up; a damaged one is written anew. */
function recordOf(state: string): Installation | undefined {
  try {
    return readInstallation(state);
  } catch {
    return undefined;
  }
}

function wantedPackages({ packages }: Options, before: Installation | undefined): string | undefined {
  if (packages === "none") return undefined;
  return packages?.text ?? before?.packages;
}

/** What an earlier set-up made counts on as long as it holds the same packages. */
function current<T>(made: T, before: Installation | undefined, packages: string | undefined): T | undefined {
  return before?.packages === packages ? made : undefined;
}

async function showProof(launcher: string, prepared: Prepared, options: Options): Promise<void> {
  const kinds = (["docker", "bubblewrap"] as const).filter((kind) =>
    kind === "docker" ? prepared.docker : prepared.python,
  );
  for (const kind of kinds) {
    const { cell, answer, sandbox, coldMs, warmMs } = await prove(
      launcher,
      options.sandbox === "auto" ? undefined : kind,
    );
    say(`Proved: ${cell}`);
    say(`  → ${answer.replaceAll("\n", "\n    ")}`);
    say(
      `  in the ${sandbox} sandbox, ${(coldMs / 1000).toFixed(1)} s after starting the server; a second cell took ${warmMs.toFixed(0)} ms`,
    );
  }
}

function closingWords(launcher: string, searchPath: string | undefined, registered: Registered): void {
  const directory = join(launcher, "..");
  if (!(searchPath ?? "").split(":").includes(directory)) {
    say(`The command is ${launcher}; to call it as cloche, add to your shell's profile:`);
    say(`  export PATH="${directory}:$PATH"`);
  }
  say(`Cloche is ready. ${nextStep(registered)}`);
}

try {
  await main(parseOptions(process.argv.slice(2)));
} catch (error) {
  if (error instanceof ClocheError) {
    const known = asClocheError(error);
    console.error(known.sentence);
    process.exit(typeof known.data.exitCode === "number" ? known.data.exitCode : 1);
  }
  console.error((error as Error).message);
  process.exit(1);
}
