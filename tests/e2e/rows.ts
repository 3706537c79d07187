// One row for each sandbox: the same tests run in both. A row is left out only where its sandbox cannot be had here and
// CLOCHE_TEST_REQUIRE (a list such as "docker,bubblewrap,claude") does not ask for it.
import { describe, test } from "vitest";
import { dockerEnvironment, readSurroundings } from "../../src/config/surroundings.ts";
import { BubblewrapSandbox } from "../../src/sandboxes/bubblewrap.ts";
import { DockerSandbox } from "../../src/sandboxes/docker.ts";
import type { Sandbox, SandboxKind } from "../../src/sandboxes/sandbox.ts";
import { installation } from "./place.ts";

const required = new Set((process.env.CLOCHE_TEST_REQUIRE ?? "").split(",").map((name) => name.trim()));

/** `tests` for each sandbox, told which one. */
export function eachSandbox(title: string, tests: (kind: SandboxKind) => void): void {
  for (const kind of ["docker", "bubblewrap"] as const)
    row(`${title}, ${kind}`, kind, missing.get(kind), () => tests(kind));
}

/** `tests` under `title` unless `reason` says what is missing; where the row is required, that is a failure. */
export function row(title: string, name: string, reason: string | undefined, tests: () => void): void {
  if (reason === undefined) describe(title, tests);
  else if (required.has(name))
    test(`${title}: required, and missing`, () => {
      throw new Error(reason);
    });
  else describe.skip(`${title} (skipped: ${reason})`, tests);
}

/** Why a sandbox cannot serve here; no entry for one that can. */
const missing = new Map<SandboxKind, string>();
for (const sandbox of sandboxes()) {
  const { available, problems } = await sandbox.inspect();
  if (!available) missing.set(sandbox.kind, problems.map(({ problem }) => problem).join("; "));
}

function sandboxes(): Sandbox[] {
  const surroundings = readSurroundings();
  const { docker, python } = installation();
  return [
    new DockerSandbox({
      environment: dockerEnvironment(surroundings),
      ...(docker ? { image: docker.image } : {}),
    }),
    new BubblewrapSandbox({
      ...(python ? { python: python.environment } : {}),
      // Each server makes its own copy of the kernel packages; any directory that everyone can read stands for it here.
      kernel: "/usr",
      uid: surroundings.uid,
    }),
  ];
}
