// The attack programs as the tests hold them: what there is, and running them outside and as cells.
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { installation } from "../e2e/place.ts";
import type { Server } from "../e2e/server.ts";

export const DIRECTORY = join(import.meta.dirname, "programs");
const RUN = join(DIRECTORY, "run.py");

/** A Python of the host: the one that setup found, which needs no packages here. */
export const PYTHON = installation().python?.interpreter ?? "python3";

export interface Attack {
  family: string;
  name: string;
  /** errno, signal or words of which one stops it */
  stoppedBy: string[];
}

/** What one attack came to; exactly one is set. */
export interface Outcome {
  got?: string;
  stopped?: string;
  /** this machine lacks what it needs */
  absent?: string;
  /** the program itself failed */
  broken?: string;
}

/** Where the host and its secrets are, see `Target` in programs/harness.py. */
export interface Target {
  inside: boolean;
  token: string;
  listeners: Record<string, string | number>;
  files: Record<string, string>;
  pids: Record<string, number>;
  staging: string;
  writable: string;
  program: string;
  roots: string[];
  addresses: string[];
  shared_memory: number;
}

/** Every attack; why there is none where this machine has no Python. */
export function listAttacks(): { attacks: Attack[]; missing?: string } {
  const { stdout, error } = spawnSync(PYTHON, ["-I", RUN, "list"], { encoding: "utf8" });
  if (error) return { attacks: [], missing: `no Python to run the attacks outside: ${error.message}` };
  return {
    attacks: stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Attack),
  };
}

/** Runs attacks on the host itself; all of them by default. */
export async function runOutside(target: Target, names: string[] = []): Promise<Map<string, Outcome>> {
  const child = spawn(PYTHON, ["-I", RUN, ...names], {
    env: { PATH: "/usr/bin:/bin", CLOCHE_CANARY: target.token },
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.end(JSON.stringify(target));
  let text = "";
  for await (const chunk of child.stdout) text += chunk;
  return readOutcomes(text);
}

/** One JSON line an attack. Throws for anything else, so that a program that died counts for nothing. */
export function readOutcomes(text: string): Map<string, Outcome> {
  const lines = text
    .trim()
    .split("\n")
    .filter((line) => line.startsWith("{"));
  return new Map(
    lines.map((line) => {
      const { name, ...outcome } = JSON.parse(line) as Outcome & { name: string };
      return [name, outcome];
    }),
  );
}

/** The programs by file name. */
export function sources(): Record<string, string> {
  const names = readdirSync(DIRECTORY).filter((name) => name.endsWith(".py"));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(DIRECTORY, name), "utf8")]));
}

/** Puts the programs into a session, ready for `runInCell`. */
export async function installInSession(server: Server, target: Target, session: string): Promise<void> {
  const code = `
import json, os, sys
os.makedirs("/workspace/attacks/programs", exist_ok=True)
for name, text in json.loads(${JSON.stringify(JSON.stringify(sources()))}).items():
    open(f"/workspace/attacks/programs/{name}", "w").write(text)
sys.path.insert(0, "/workspace/attacks")
from programs import run as attacks
target = attacks.Target(**json.loads(${JSON.stringify(JSON.stringify(target))}))`;
  const answer = await server.exec(code, { session });
  if (!answer.status.includes("ok")) throw new Error(`the attacks could not be installed: ${answer.text}`);
}

/** One attack as a cell of that session. */
export async function runInCell(server: Server, name: string, session: string): Promise<Outcome> {
  const { text } = await server.exec(
    `print("OUTCOME", json.dumps(attacks.run(${JSON.stringify(name)}, target)))`,
    { session },
  );
  const found = /^OUTCOME (\{.*\})$/m.exec(text)?.[1];
  if (found === undefined) throw new Error(`no outcome came back: ${text.slice(-1_000)}`);
  return JSON.parse(found) as Outcome;
}

/** Whether all that stopped the attack, one thing or several, is among what may. */
export function isStopped({ stoppedBy }: Attack, { stopped }: Outcome): boolean {
  const met = stopped?.split(", ") ?? [];
  return met.length > 0 && met.every((what) => stoppedBy.some((evidence) => what.startsWith(evidence)));
}
