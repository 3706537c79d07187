// What a benchmark is and what it gives: figures, each with the reference measured in the same run.
import type { ClocheServer } from "./cloche-server.ts";
import type { ReferencePython } from "./reference-python.ts";
import type { ServingSandbox } from "./serving-sandboxes.ts";
import { ratios, type Spread, spread } from "./statistics.ts";

export type Unit = "ms" | "s" | "MB";

export interface Reference {
  /** what the candidate is held against */
  what: string;
  value: Spread;
  /** candidate over reference, round by round */
  ratio: Spread;
}

export interface Figure {
  what: string;
  /** the sandbox that served, or what else stands in its place */
  sandbox: string;
  unit: Unit;
  value: Spread;
  against?: Reference;
  /** what the project wants to reach: a value in `unit`, or a ratio to the reference */
  target?: { value: number } | { ratio: number };
  note?: string;
}

export interface BenchContext {
  sandboxes: readonly ServingSandbox[];
  /** the interpreter that the references run in */
  python(): Promise<ReferencePython>;
  /** the interpreter of the environment with the peer in it */
  peerPython(): Promise<string>;
  /** Starts a server on the project of the benchmarks, with the person's limits or these. The caller closes it. */
  serve(sandbox: ServingSandbox, limits?: { cpus: number }): Promise<ClocheServer>;
  /** processors that a session gets by the person's settings */
  sessionCpus: number;
  /** directory of the project that the servers serve */
  project: string;
  /** root of the state directory, where staged copies lie */
  state: string;
  say(line: string): void;
}

export interface Bench {
  name: string;
  title: string;
  run(context: BenchContext): Promise<Figure[]>;
}

/** `rounds` turns of everybody, each turn in another order, so that nobody always follows the same neighbour. */
export async function interleave<Name extends string>(
  rounds: number,
  turns: Record<Name, () => Promise<number>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(turns) as Name[];
  const results = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, number[]>;
  for (let round = 0; round < rounds; round++)
    for (let at = 0; at < names.length; at++) {
      const name = names[(at + round) % names.length]!;
      results[name].push(await turns[name]());
    }
  return results;
}

/** A reference as it stands beside a figure. */
export function against(what: string, candidate: readonly number[], reference: readonly number[]): Reference {
  return { what, value: spread(reference), ratio: ratios(candidate, reference) };
}

/** `milliseconds` that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
