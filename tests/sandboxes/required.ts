// Which sandboxes the tests of this machine can use, and which they may not skip: CLOCHE_TEST_REQUIRE=docker,bubblewrap.
// The same variable with "claude" asks for the tests that drive Claude Code, with "mypy" and "ruff" for checks of Python.
import { fileURLToPath } from "node:url";
import { type Config, resolveConfig } from "../../src/config/config.ts";
import { prepareState } from "../../src/config/paths.ts";
import { BubblewrapSandbox } from "../../src/sandboxes/bubblewrap.ts";
import { DockerSandbox } from "../../src/sandboxes/docker.ts";
import { installKernelFiles } from "../../src/sandboxes/kernel-files.ts";
import type { Sandbox, SandboxKind } from "../../src/sandboxes/sandbox.ts";

export const KINDS: readonly SandboxKind[] = ["docker", "bubblewrap"];

/** The project itself, as the directory the configuration is resolved for. */
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export const testConfig: Config = resolveConfig({ project: ROOT });
prepareState(testConfig.paths, testConfig.uid);

const python = testConfig.installation?.python?.environment;
/** The kernel packages as bubblewrap mounts them. */
export const kernel = python
  ? await installKernelFiles({ source: `${ROOT}sandbox`, target: testConfig.paths.kernel, python })
  : testConfig.paths.kernel;

/** A sandbox of this kind as setup prepared it; `command` runs inside instead of the supervisor. */
export function makeSandbox(kind: SandboxKind, command?: readonly string[]): Sandbox {
  const { docker, installation, paths, uid } = testConfig;
  const instead = command ? { command } : {};
  if (kind === "docker") {
    const image = installation?.docker?.image;
    return new DockerSandbox({
      state: paths.state,
      environment: docker,
      ...(image ? { image } : {}),
      ...instead,
    });
  }
  const { runtimeDirectory } = docker;
  return new BubblewrapSandbox({
    ...(python ? { python } : {}),
    kernel,
    uid,
    ...(runtimeDirectory ? { runtimeDirectory } : {}),
    ...instead,
  });
}

export interface Availability {
  kind: SandboxKind;
  available: boolean;
  /** why a test without it is skipped; empty where it is available */
  reason: string;
  /** limit → how it is enforced */
  limits: Record<string, string>;
}

export const required: readonly string[] = (process.env.CLOCHE_TEST_REQUIRE ?? "")
  .split(",")
  .map((name) => name.trim());

/**
 * Looks once what this machine has. Throws for a kind that CLOCHE_TEST_REQUIRE names and that cannot serve, so that a
 * required row fails instead of being skipped.
 */
export async function availability(): Promise<Availability[]> {
  const known: readonly string[] = [...KINDS, "claude", "mypy", "ruff", ""];
  const unknown = required.filter((name) => !known.includes(name));
  if (unknown.length > 0)
    throw new Error(
      `CLOCHE_TEST_REQUIRE names nothing that can be required with ${JSON.stringify(unknown.join(","))}`,
    );
  return Promise.all(
    KINDS.map(async (kind) => {
      const { available, problems, limits } = await makeSandbox(kind).inspect();
      const reason = problems.map(({ problem, remedy }) => `${problem}. ${remedy}`).join(" ");
      if (!available && required.includes(kind))
        throw new Error(`CLOCHE_TEST_REQUIRE names ${kind}, which cannot serve: ${reason}`);
      return { kind, available, reason, limits };
    }),
  );
}
