// The sandbox with one hole in it, opened here and nowhere in Cloche: by changing what its own pure functions say.
import { spawn } from "node:child_process";
import { chmodSync, cpSync } from "node:fs";
import { join } from "node:path";
import type { ContainerCreateOptions } from "dockerode";
import { launchKernel } from "../../src/kernel/launch.ts";
import { bubblewrapArguments, READY_FD, systemBinds } from "../../src/sandboxes/bubblewrap-arguments.ts";
import { dropped, findProgram } from "../../src/sandboxes/bubblewrap-checks.ts";
import { RunningBubblewrap } from "../../src/sandboxes/bubblewrap-process.ts";
import { connectEngine } from "../../src/sandboxes/docker-connection.ts";
import { RunningContainer } from "../../src/sandboxes/docker-container.ts";
import { containerOptions } from "../../src/sandboxes/docker-options.ts";
import { chooseEnforcement } from "../../src/sandboxes/enforcement.ts";
import { DROPPED_ID, grantTo, INSIDE_ID, ownFiles } from "../../src/sandboxes/layout.ts";
import type { RunningSandbox, Sandbox, SandboxKind, StartOptions } from "../../src/sandboxes/sandbox.ts";
import { architecture, dockerSeccompProfile, seccompProgram } from "../../src/sandboxes/seccomp.ts";
import { ClocheError } from "../../src/shared/errors.ts";
import { python, startOptions } from "../sandboxes/fixture.ts";
import { kernel, testConfig } from "../sandboxes/required.ts";
import { DIRECTORY, type Outcome, readOutcomes, type Target } from "./programs.ts";

/** How one hole is opened in each kind of sandbox; a kind that is missing cannot have it. */
export interface Opening {
  docker?: (options: Container, place: StartOptions) => void;
  bubblewrap?: (wrapped: Wrapped, place: StartOptions) => void;
}

export type Container = ContainerCreateOptions & {
  HostConfig: NonNullable<ContainerCreateOptions["HostConfig"]>;
};

/** A bubblewrap command in the making. */
export interface Wrapped {
  /** what runs before bwrap: `setpriv …` where root starts it */
  prefix: string[];
  args: string[];
  environment: Record<string, string>;
}

/** Runs the named attacks in a sandbox with that hole, and without the supervisor, which would refuse to serve. */
export async function attackThrough(
  kind: SandboxKind,
  opening: Opening,
  names: string[],
  target: Target,
): Promise<Map<string, Outcome>> {
  const { directory, start } = startOptions({ limits: { processes: 128 } });
  let running: RunningSandbox | undefined;
  try {
    cpSync(DIRECTORY, join(directory.scratch, "programs"), {
      recursive: true,
      filter: (path) => !path.includes("__pycache__"),
    });
    chmodSync(join(directory.scratch, "programs"), 0o755);
    const code = `import sys; sys.path.insert(0, "/scratch"); from programs import run; run.main()`;
    const command = [...python(code), ...names];
    running = await startOpened(kind, opening, start, command);
    running.stdio.end(JSON.stringify(target));
    let text = "";
    for await (const chunk of running.stdio) text += chunk;
    const outcomes = readOutcomes(text);
    if (outcomes.size !== names.length) throw new Error(`${text}\n${running.diagnostics()}`);
    return outcomes;
  } finally {
    await running?.kill();
    await directory.remove();
  }
}

/** A kernel's launch on a sandbox with that hole; it is to be refused. */
export async function launchThrough(kind: SandboxKind, opening: Opening, hostFile: string): Promise<void> {
  const { directory, start } = startOptions();
  const sandbox = { kind, start: (options: StartOptions) => startOpened(kind, opening, options) };
  const kernel = await launchKernel({
    sandbox: sandbox as unknown as Sandbox,
    createStaging: () => directory,
    limits: start.limits,
    scratch: 2 ** 30,
    owner: start.owner,
    hostFile,
  });
  await kernel.end(new ClocheError("wire.closed", { message: "the test is through" }));
}

const startOpened = (kind: SandboxKind, opening: Opening, start: StartOptions, command?: string[]) =>
  (kind === "docker" ? startContainer : startBubblewrap)(opening, start, command);

async function startContainer(opening: Opening, start: StartOptions, command?: string[]) {
  const engine = await connectEngine(testConfig.docker);
  grantTo(INSIDE_ID, start.staging, start.scratch);
  const own = ownFiles(INSIDE_ID, INSIDE_ID).map(({ path }) => path);
  const options = containerOptions(
    {
      state: testConfig.paths.state,
      image: testConfig.installation!.docker!.image,
      user: { uid: INSIDE_ID, gid: INSIDE_ID },
      seccompProfile: dockerSeccompProfile(engine.architecture),
      abilities: engine.abilities,
      ...(command ? { command } : {}),
    },
    start,
  ) as Container;
  // The image's own serve here.
  options.HostConfig.Mounts = options.HostConfig.Mounts!.filter(({ Target }) => !own.includes(Target));
  opening.docker?.(options, start);
  const container = await engine.docker.createContainer(options);
  const running = new RunningContainer(engine, container, async () => {});
  await running.begin(undefined);
  return running;
}

async function startBubblewrap(opening: Opening, start: StartOptions, command?: string[]) {
  const environment = testConfig.installation!.python!.environment;
  const { uid, docker } = testConfig;
  if (uid === 0) grantTo(DROPPED_ID, start.staging, start.scratch);
  const { runtimeDirectory } = docker;
  const enforcement = await chooseEnforcement({ uid, ...(runtimeDirectory ? { runtimeDirectory } : {}) });
  const hold = enforcement.hold(start.limits);
  const wrapped: Wrapped = {
    prefix: dropped(uid, DROPPED_ID),
    args: bubblewrapArguments(
      {
        python: environment,
        kernel,
        system: systemBinds(environment),
        ...(command ? { command } : {}),
      },
      start,
    ),
    environment: hold.environment,
  };
  opening.bubblewrap?.(wrapped, start);
  const [program, ...args] = [...hold.prefix, ...wrapped.prefix, findProgram("bwrap")!, ...wrapped.args];
  const child = spawn(program!, args, {
    cwd: "/",
    env: wrapped.environment,
    stdio: Array(READY_FD + 1).fill("pipe"),
  });
  const running = new RunningBubblewrap(child, hold, enforcement.by);
  await running.begin(seccompProgram(architecture(process.arch)), undefined);
  return running;
}
