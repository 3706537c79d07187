// A long life in a few minutes: cells of every kind in one session, resets in another, each answer checked, and what the
// processes use looked at now and then.
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { pngSize } from "../e2e/answer.ts";
import type { Place } from "../e2e/place.ts";
import type { Server } from "../e2e/server.ts";
import { seeded } from "../seeded.ts";
import { type SandboxProcesses, sandboxesOf, type Use, use } from "./processes.ts";

export const ROLES = ["server", "supervisor", "zygote", "kernel"] as const;
export type Role = (typeof ROLES)[number];
export type Sample = Record<Role, Use>;

export interface SoakOptions {
  cells: number;
  samples: number;
  seed: number;
  onSample?: (sample: Sample, cell: number) => void;
}

/** The session that lives through it all; `RESTLESS` is reset now and then. */
const STEADY = "steady";
const RESTLESS = "restless";
const STEPS = [
  "sum",
  "sum",
  "sum",
  "running",
  "running",
  "print",
  "frame",
  "error",
  "deep",
  "shell",
] as const;

/** Runs the cells and gives the samples; throws at the first answer that is not right. */
export async function soak(
  place: Place,
  server: Server,
  { cells, samples, seed, onSample }: SoakOptions,
): Promise<Sample[]> {
  const random = seeded(seed);
  await server.exec(
    "total = 0\nimport gc, time\nimport numpy as np, pandas as pd\nimport matplotlib.pyplot as plt\nopen('/proc/self/comm', 'w').write('steady')",
    {
      session: STEADY,
    },
  );
  const steady = named(place, STEADY);
  await server.exec("import time; n = 0", { session: RESTLESS });
  const taken: Sample[] = [];
  let total = 0;
  let count = 0;
  for (let cell = 1; cell <= cells; cell++) {
    const step = cell % 40 === 0 ? "figure" : cell % 50 === 1 ? "interrupt" : random.pick(STEPS);
    const a = random.integer(1_000);
    const b = random.integer(1_000);
    const exec = (code: string) => server.exec(code, { session: STEADY });
    switch (step) {
      case "sum":
        expect((await exec(`${a} + ${b}`)).text).toBe(String(a + b));
        break;
      case "running":
        total += a;
        expect((await exec(`total += ${a}; print(total)`)).text).toBe(String(total));
        break;
      case "print":
        expect((await exec(`for i in range(${a}): print(i, 'x' * 40)`)).status).toContain("ok");
        break;
      case "frame":
        expect(
          (await exec(`int(pd.DataFrame({'a': np.full(${a + 1}, ${b})}).groupby('a').a.sum().sum())`)).text,
        ).toBe(String((a + 1) * b));
        break;
      case "error":
        expect((await exec(`def fail(x):\n    return x / 0\nfail(${a})`)).text).toContain(
          "ZeroDivisionError",
        );
        break;
      case "deep":
        expect((await exec("def deep(n): return deep(n + 1)\ndeep(0)")).text).toContain("RecursionError");
        break;
      case "shell":
        expect((await exec(`!echo ${a}`)).text).toBe(String(a));
        break;
      case "figure": {
        const { images } = await exec(`plt.plot(np.random.rand(${a + 2})); plt.title('${b}');`);
        expect(images).toHaveLength(1);
        expect(pngSize(images[0]!.bytes).width).toBeGreaterThan(100);
        break;
      }
      case "interrupt": {
        const { cell: number } = await server.exec("time.sleep(60)", { session: STEADY, wait_s: 0 });
        const ended = await server.call("exec", { cell: number, stop: true, session: STEADY });
        expect(ended.status).toContain("interrupted");
        break;
      }
    }
    if (cell % 10 === 5) {
      count += 1;
      const { text } = await server.exec("n += 1; big = bytearray(3_000_000); n", { session: RESTLESS });
      expect(text).toBe(String(count));
    }
    if (cell % 25 === 7)
      expect((await server.call("vars", { session: STEADY })).text).toContain("total: int");
    if (cell % 25 === 13) {
      const { text } = await server.call("load", {
        text: `a,b\n${a},${b}\n`,
        format: "csv",
        name: "table",
        session: RESTLESS,
      });
      expect(text).toContain("1 row");
    }
    if (cell % 100 === 99) {
      await server.call("reset", { session: RESTLESS });
      await server.exec("n = 0", { session: RESTLESS });
      count = 0;
    }
    if (cell % Math.floor(cells / samples) === 0) {
      const sample = await look(server, steady);
      taken.push(sample);
      onSample?.(sample, cell);
    }
  }
  expect((await server.exec("1+1", { session: STEADY })).text).toBe("2");
  return taken;
}

export interface Growth {
  /** `bytes` from the second quarter of the samples to the last */
  memory: number;
  descriptors: number;
}

/** From the median of the second quarter to that of the last: what starting takes is no growth. */
export function growth(samples: readonly Sample[], role: Role): Growth {
  const quarter = Math.floor(samples.length / 4);
  const middle = (from: number, key: keyof Use) =>
    samples
      .slice(from, from + quarter)
      .map((sample) => sample[role][key])
      .sort((a, b) => a - b)[Math.floor(quarter / 2)]!;
  const grown = (key: keyof Use) => middle(samples.length - quarter, key) - middle(quarter, key);
  return { memory: grown("memory"), descriptors: grown("descriptors") };
}

async function look(server: Server, { supervisor, zygote, kernels }: SandboxProcesses): Promise<Sample> {
  await server.exec("gc.collect();", { session: STEADY });
  // What the host keeps of a cell it writes after the answer.
  await delay(50);
  const kernel = kernels[0];
  if (kernel === undefined) throw new Error("the session has no kernel");
  return { server: use(server.pid), supervisor: use(supervisor), zygote: use(zygote), kernel: use(kernel) };
}

/** The sandbox whose kernel bears this name. */
function named(place: Place, name: string): SandboxProcesses {
  for (const { kernels, ...rest } of sandboxesOf(place)) {
    const kernel = kernels.find((pid) => readFileSync(`/proc/${pid}/comm`, "utf8").trim() === name);
    if (kernel !== undefined) return { ...rest, kernels: [kernel] };
  }
  throw new Error(`no kernel is named ${name}`);
}
