// The Python environment of the bubblewrap sandbox: made once per set of inputs, moved into place whole.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Environment } from "../../src/config/surroundings.ts";
import { allCertificates, companyCertificates } from "./downloads.ts";
import { explained } from "./failures.ts";
import { fileInputs, fingerprint } from "./fingerprint.ts";
import type { Interpreter } from "./interpreter.ts";
import { run, say, step } from "./progress.ts";

/** Where the environment is mounted in the sandbox. */
const INSIDE = "/opt/cloche/python";

export interface EnvironmentRequest {
  /** the clone's `sandbox` directory */
  sources: string;
  /** directory that holds the environments */
  directory: string;
  interpreter: Interpreter;
  /** the user's own requirements, as text */
  packages: string | undefined;
  env: Environment;
}

/** Where the environment for these inputs is or would be. */
export function environmentPath({ sources, directory, interpreter, packages }: EnvironmentRequest): string {
  const name = fingerprint([
    ...fileInputs(sources, ["requirements.txt", "finish_environment.py"]),
    ["packages", packages ?? ""],
    ["interpreter", `${interpreter.executable} ${interpreter.version}`],
  ]);
  return join(directory, name);
}

/** Makes the environment unless it is there; resolves with its path. Throws CommandFailed with pip's own words. */
export async function prepareEnvironment(request: EnvironmentRequest): Promise<string> {
  const path = environmentPath(request);
  if (existsSync(path)) {
    say(`The Python environment ${path} is up to date.`);
    return path;
  }
  const { sources, directory, interpreter, packages } = request;
  const draft = join(directory, `.draft-${process.pid}`);
  const tools = join(directory, `.tools-${process.pid}`);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  try {
    await step("Making the Python environment (about 900 MB on disk, 1 to 3 minutes)", async (note) => {
      mkdirSync(tools, { mode: 0o755 });
      const extra = join(tools, "extra.txt");
      writeFileSync(extra, packages ?? "");
      const env = pipEnvironment(request.env, tools);
      await run(interpreter.executable, ["-I", "-m", "venv", join(tools, "pip")], note, { env });
      await run(interpreter.executable, ["-I", "-m", "venv", "--without-pip", draft], note, { env });
      const python = join(draft, "bin/python");
      const install = ["--python", python, "install", "-r", join(sources, "requirements.txt"), "-r", extra];
      await run(join(tools, "pip/bin/pip"), install, note, { env }).catch((error) => {
        throw explained(error);
      });
      note("removing what no session needs");
      await run(python, ["-I", join(sources, "finish_environment.py")], note, { env });
    });
    pointScriptsInside(draft);
    renameSync(draft, path);
  } finally {
    rmSync(draft, { recursive: true, force: true });
    rmSync(tools, { recursive: true, force: true });
  }
  return path;
}

function pipEnvironment(env: Environment, tools: string): NodeJS.ProcessEnv {
  const company = companyCertificates(env);
  const found: NodeJS.ProcessEnv = { ...env, PIP_DISABLE_PIP_VERSION_CHECK: "1", PIP_PROGRESS_BAR: "off" };
  if (company === undefined) return found;
  const bundle = join(tools, "roots.crt");
  writeFileSync(bundle, allCertificates(company));
  return { ...found, PIP_CERT: bundle };
}

/** Commands that packages bring name their interpreter by its path here; in the sandbox it has another. */
function pointScriptsInside(environment: string): void {
  const bin = join(environment, "bin");
  const here = `#!${bin}/`;
  for (const name of readdirSync(bin)) {
    const path = join(bin, name);
    if (!statSync(path).isFile() || statSync(path).size > 65_536) continue;
    const text = readFileSync(path, "utf8");
    if (text.startsWith(here)) writeFileSync(path, `#!${INSIDE}/bin/${text.slice(here.length)}`);
  }
}

/** Removes environments that neither this set-up nor the one before serves; a live session may still use the latter. */
export function retireEnvironments(directory: string, keep: readonly (string | undefined)[]): void {
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (/^[0-9a-f]{12}$/.test(name) && !keep.includes(path)) rmSync(path, { recursive: true, force: true });
  }
}
