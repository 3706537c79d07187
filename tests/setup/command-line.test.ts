// What setup.sh answers before it does anything: bad options are named, and Windows is told about WSL2.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseOptions } from "../../scripts/install/options.ts";

const clone = resolve(import.meta.dirname, "../..");

function setup(args: string[], path = "/usr/bin:/bin") {
  return spawnSync(join(clone, "setup.sh"), args, {
    encoding: "utf8",
    env: { PATH: path, HOME: "/nonexistent" },
  });
}

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "cloche-options-"));
  onTestFinished(() => rmSync(made, { recursive: true }));
  return made;
}

test("help names every option", () => {
  const { stdout, status } = setup(["--help"]);
  expect(status).toBe(0);
  for (const option of [
    "--yes",
    "--sandbox",
    "--base-image",
    "--packages",
    "--no-register",
    "--uninstall",
    "--purge",
  ])
    expect(stdout).toContain(option);
});

test.each([
  [["--frobnicate"], "--frobnicate"],
  [["--sandbox", "podman"], "podman"],
  [["--sandbox"], "--sandbox takes"],
  [["--packages", "/no/such/requirements.txt"], "/no/such/requirements.txt"],
  [["--base-image"], "--base-image takes"],
])("%j is refused in one sentence, before anything is made", (args, named) => {
  const { stderr, stdout, status } = setup(args);
  expect(status).toBe(2);
  expect(stderr).toContain(named);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stdout).toBe("");
});

test("a relative requirements file is looked for where setup.sh was called", () => {
  const from = folder();
  const asked = spawnSync(join(clone, "setup.sh"), ["--packages", "mine.txt"], {
    encoding: "utf8",
    cwd: from,
  });
  expect(asked.stderr).toContain('"mine.txt" is neither');
  writeFileSync(join(from, "mine.txt"), "statsmodels");
  // Named after it, so that nothing is set up.
  const found = spawnSync(join(clone, "setup.sh"), ["--packages", "mine.txt", "--nothing"], {
    encoding: "utf8",
    cwd: from,
  });
  expect(found.stderr).toBe("Unknown option --nothing; ./setup.sh --help names them.\n");
});

test("natively on Windows it explains WSL2", () => {
  const bin = folder();
  writeFileSync(join(bin, "uname"), "#!/bin/sh\necho MINGW64_NT-10.0-22631\n");
  chmodSync(join(bin, "uname"), 0o755);
  const { stderr, status } = setup(["--yes"], `${bin}:/usr/bin:/bin`);
  expect(status).toBe(2);
  expect(stderr).toContain("wsl --install");
});

test("what only root can install is shown as one line and not run without consent", {
  skip: process.platform !== "linux",
}, () => {
  const asked = spawnSync(join(clone, "scripts/system-packages.sh"), ["bubblewrap", "python"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  expect(asked.status).toBe(3);
  expect(asked.stderr).toMatch(/install.*bubblewrap|-S.*bubblewrap/i);
});

test("a requirements file that refers to other files is refused, because it travels alone", () => {
  const file = join(folder(), "requirements.txt");
  writeFileSync(file, "# mine\nstatsmodels\n-r more.txt\n");
  expect(() => parseOptions(["--packages", file])).toThrow(/-r more\.txt/);
  writeFileSync(file, "# mine\nstatsmodels>=0.14 ; python_version > '3.10'\n");
  expect(parseOptions(["--packages", file]).packages).toEqual({
    text: expect.stringContaining("statsmodels"),
  });
});
