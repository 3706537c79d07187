// The two readers of the wire on the same streams: what the sandbox's passes on, the host reads as the same message.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { fuzzFraming, readAll } from "./wire-fuzz.ts";

interface PythonReading {
  frames: string[];
  refused: boolean;
  pending: number;
}

/** Why the Python side cannot be had here; undefined where it can. */
export const missingPython: string | undefined =
  spawnSync("python3", ["-c", "import sys; assert sys.version_info >= (3, 11)"]).status === 0
    ? undefined
    : "there is no python3 of version 3.11 or newer";

/** Fuzzes both readers with the streams of these seeds. */
export function fuzzBothSides(seeds: number[]): void {
  const host = seeds.map((seed) => fuzzFraming(seed));
  const script = fileURLToPath(new URL("python_reader.py", import.meta.url));
  const ran = spawnSync("python3", ["-I", "-S", script], {
    input: host.map(({ stream }) => `${stream.toString("hex")}\n`).join(""),
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  expect(ran.stderr).toBe("");
  const python = ran.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as PythonReading);
  expect(python).toHaveLength(seeds.length);
  for (const [index, { reading }] of host.entries()) {
    const inside = python[index]!;
    const passedOn = inside.frames.map((hex) => Buffer.from(hex, "hex"));
    // The sandbox's reader may be stricter; what it lets through, the host must frame and understand in the same way.
    const onHost = passedOn.map((frame) => readAll([frame]));
    for (const { frames, refused, pending } of onHost)
      expect([frames.length, refused, pending], `seed ${seeds[index]}`).toEqual([1, false, 0]);
    const first = onHost.flatMap(({ frames }) => frames);
    expect(first, `seed ${seeds[index]}`).toEqual(reading.frames.slice(0, first.length));
    if (!inside.refused) expect([reading.refused, reading.pending]).toEqual([false, inside.pending]);
  }
}
