// Values of packages that the sandbox does not have, added as `./setup.sh --packages` adds them: right, or named.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findInterpreter } from "../../scripts/install/interpreter.ts";
import { prepareEnvironment } from "../../scripts/install/python-environment.ts";
import { readSurroundings } from "../../src/config/surroundings.ts";
import { CLONE } from "../e2e/place.ts";
import { testConfig } from "../sandboxes/required.ts";

const CASES = join(CLONE, "tests/sandbox/checkpoints/packages");
/** Classes that are held to it, at least, and the share of them that comes back right; the rest is named. */
const CLASSES = 200;
const RIGHT = 0.93;

interface Found {
  outcome: "right" | "named" | "refused" | "wrong";
  reason: string;
  classes: string[];
}

const { env } = readSurroundings();
const interpreter = findInterpreter(env.PATH, testConfig.uid);

describe.skipIf(!interpreter)("classes of packages that are not in the sandbox", () => {
  test("come back right by undo and in a fresh process, or are named with the reason", async () => {
    const environment = await prepareEnvironment({
      sources: join(CLONE, "sandbox"),
      directory: join(testConfig.paths.state, "t/packages"),
      interpreter: interpreter!,
      packages: readFileSync(join(CASES, "packages.txt"), "utf8"),
      env,
    });
    const directory = mkdtempSync(join(tmpdir(), "cloche-packages-"));
    try {
      const python = join(environment, "bin/python");
      const text = execFileSync(python, [join(CASES, "report.py"), directory], {
        encoding: "utf8",
        maxBuffer: 2 ** 26,
      });
      const found = Object.entries(JSON.parse(text.trim().split("\n").at(-1)!) as Record<string, Found>);
      const unexpected = found.filter(([, { outcome }]) => outcome !== "right" && outcome !== "named");
      expect(unexpected).toEqual([]);
      const classes = (outcome: Found["outcome"]) =>
        new Set(found.flatMap(([, one]) => (one.outcome === outcome ? one.classes : [])));
      const right = classes("right");
      const named = [...classes("named")].filter((name) => !right.has(name));
      console.log(`${right.size} classes come back right, ${named.length} are named: ${named.join(", ")}`);
      expect(right.size).toBeGreaterThanOrEqual(CLASSES);
      expect(right.size / (right.size + named.length), named.join(", ")).toBeGreaterThanOrEqual(RIGHT);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
