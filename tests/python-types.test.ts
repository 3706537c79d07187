// The Python is checked as strictly as the TypeScript, where mypy and ruff are on the path.
import { spawnSync } from "node:child_process";
import { delimiter } from "node:path";
import { describe, expect, test } from "vitest";
import { findCommand } from "../src/shared/find-command.ts";
import { CLONE } from "./e2e/place.ts";
import { required, testConfig } from "./sandboxes/required.ts";

/** Whoever runs tests with the sandbox's environment may have the tools there. */
const environment = testConfig.installation?.python?.environment;
const searchPath = [process.env.PATH, environment && `${environment}/bin`].filter(Boolean).join(delimiter);

/** mypy looks at the packages of the sandbox: without them most of what it checks has no type. */
const checks = [
  {
    tool: "mypy",
    args: ["--strict", "--cache-dir=.cache/mypy", `--python-executable=${environment}/bin/python`],
    paths: ["sandbox", "tests/attacks/programs", "tests/golden/make.py", "tests/fuzz/python_reader.py"],
    lacks: environment ? undefined : "no Python environment was set up",
  },
  { tool: "ruff", args: ["check", "--no-cache"], paths: ["sandbox", "tests"], lacks: undefined },
  { tool: "ruff", args: ["format", "--check", "--no-cache"], paths: ["sandbox", "tests"], lacks: undefined },
];

describe("the Python", () => {
  for (const { tool, args, paths, lacks } of checks) {
    const command = findCommand(tool, searchPath);
    const missing = lacks ?? (command ? undefined : `${tool} is not on the path`);
    if (missing && required.includes(tool)) throw new Error(`CLOCHE_TEST_REQUIRE names ${tool}: ${missing}`);
    const name = `${tool} ${args[0]} finds nothing`;
    test.skipIf(missing)(missing ? `${name} (skipped: ${missing})` : name, { timeout: 180_000 }, () => {
      const { status, stdout, stderr } = spawnSync(command!, [...args, ...paths], {
        cwd: CLONE,
        encoding: "utf8",
      });
      expect(`${stdout}${stderr}`.slice(-4_000), stdout).toMatch(
        /no issues found|All checks passed|already formatted/,
      );
      expect(status).toBe(0);
    });
  }
});
