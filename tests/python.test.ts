// The Python tests (tests/sandbox) run by pytest inside a sandbox, where that code lives, and count here one by one.
import { cpSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { launchKernel } from "../src/kernel/launch.ts";
import { createStagingDirectory } from "../src/sandboxes/staging-directory.ts";
import { ClocheError } from "../src/shared/errors.ts";
import { availability, makeSandbox, testConfig } from "./sandboxes/required.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const GIB = 1024 ** 3;

interface Case {
  name: string;
  outcome: "passed" | "failed" | "skipped";
  message: string;
}

/** The long tests search for new random programs too. */
const LONG = process.env.CLOCHE_TEST_LONG === "1" ? "1" : "";

/** Runs pytest as a cell and prints one JSON line a test: its own report is longer than a cell's output may be. */
const RUN = `
import json, subprocess, sys, xml.etree.ElementTree as tree
run = subprocess.run(
    [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=/workspace/report.xml", "/data/tests/sandbox"],
    cwd="/workspace", env={**__import__("os").environ, "PYTHONPATH": "/opt/cloche/lib", "CLOCHE_TEST_LONG": "${LONG}"}, capture_output=True, text=True)
try:
    for case in tree.parse("/workspace/report.xml").iter("testcase"):
        bad = next((c for c in case if c.tag in ("failure", "error", "skipped")), None)
        outcome = "passed" if bad is None else "skipped" if bad.tag == "skipped" else "failed"
        text = "" if bad is None else (bad.get("message") or "") + "\\n" + (bad.text or "")[-3000:]
        print("CASE " + json.dumps({"name": case.get("classname") + "." + case.get("name"), "outcome": outcome, "message": text}))
except OSError:
    print(run.stdout[-20000:], run.stderr[-20000:])
`;

async function runPytest(): Promise<{ cases: Case[]; text: string; skipped?: string }> {
  const rows = await availability();
  const row = rows.findLast(({ available }) => available);
  if (!row)
    return { cases: [], text: "", skipped: rows.map(({ kind, reason }) => `${kind}: ${reason}`).join(" ") };
  const directories = createStagingDirectory(testConfig.paths, "python-tests");
  for (const name of ["sandbox", "golden"])
    cpSync(join(HERE, name), join(directories.staging, "data/tests", name), { recursive: true });
  const kernel = await launchKernel({
    sandbox: makeSandbox(row.kind),
    createStaging: () => directories,
    limits: { memory: 4 * GIB, cpus: 2, processes: 512, tmpfs: GIB },
    scratch: 4 * GIB,
    owner: "python-tests",
    hostFile: testConfig.paths.state,
  });
  let text = "";
  try {
    const listener = {
      output: (chunk: Buffer) => {
        text += chunk;
      },
      dropped() {},
      progress() {},
      imagePlaced() {},
      image() {},
    };
    await kernel.channel.execute(1, RUN, listener).outcome;
  } finally {
    await kernel.end(new ClocheError("wire.closed", { message: "the tests are through" }));
  }
  const cases = [...text.matchAll(/^CASE (.*)$/gm)].map(([, line]) => JSON.parse(line!) as Case);
  return { cases, text };
}

const { cases, text, skipped } = await runPytest();

describe.skipIf(skipped !== undefined)(
  `pytest in the sandbox${skipped ? ` (skipped: ${skipped})` : ""}`,
  () => {
    test("it ran the tests of every file", () => {
      const ran = new Set(cases.map(({ name }) => name.split(".").find((part) => part.startsWith("test_"))));
      const files = readdirSync(join(HERE, "sandbox"), { recursive: true, encoding: "utf8" })
        .flatMap((path) => /(test_\w+)\.py$/.exec(path)?.[1] ?? [])
        .sort();
      expect([...ran].sort(), text.slice(-5_000)).toEqual(files);
    });

    for (const { name, outcome, message } of cases)
      test.skipIf(outcome === "skipped")(outcome === "skipped" ? `${name} (${message.trim()})` : name, () => {
        expect(outcome, message).toBe("passed");
      });
  },
);
