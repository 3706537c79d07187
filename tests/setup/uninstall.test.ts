// setup.sh --uninstall as it runs: what set-up made goes, what the person made stays.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { addToDesktop } from "../../claude-integration/claude-desktop.ts";
import { writeLauncher } from "../../scripts/install/launcher.ts";
import { writeInstallation } from "../../src/config/installation.ts";

const clone = resolve(import.meta.dirname, "../..");
const main = join(clone, "dist/main.js");
const settings = { theme: "dark", mcpServers: { files: { command: "npx" } } };
let home: string;
let state: string;
let launcher: string;
let desktop: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "cloche-uninstall-"));
  state = join(home, "state/cloche");
  launcher = join(home, ".local/bin/cloche");
  desktop = join(home, ".config/Claude/claude_desktop_config.json");
  for (const directory of [
    "state/cloche/python/0123456789ab",
    "state/cloche/projects/p-1",
    ".config/Claude",
    "Cloche",
  ])
    mkdirSync(join(home, directory), { recursive: true });
  writeFileSync(join(state, "projects/p-1/cloche.sqlite"), "sessions");
  writeFileSync(desktop, JSON.stringify(settings));
  addToDesktop(desktop, { command: process.execPath, args: [main, "serve"] });
  writeLauncher(launcher, { node: process.execPath, main }, {});
  writeInstallation(state, {
    version: 1,
    clone,
    node: process.execPath,
    launcher,
    python: {
      environment: join(state, "python/0123456789ab"),
      interpreter: "/usr/bin/python3",
      prefix: "/usr",
      version: "3.11.2",
    },
    desktopProject: join(home, "Cloche"),
  });
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function undo(option: string) {
  const env = {
    HOME: home,
    XDG_STATE_HOME: join(home, "state"),
    PATH: "/usr/bin:/bin",
    DOCKER_HOST: `unix://${home}/no-engine.sock`,
  };
  const done = spawnSync(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", join(clone, "scripts/install/main.ts"), option],
    {
      encoding: "utf8",
      env,
    },
  );
  expect(done.stderr).toBe("");
  expect(done.status).toBe(0);
  return done.stdout;
}

test("uninstall removes launcher, entry, environment and record, and keeps sessions", {
  skip: process.platform === "darwin",
}, () => {
  const said = undo("--uninstall");
  expect(existsSync(launcher)).toBe(false);
  expect(JSON.parse(readFileSync(desktop, "utf8"))).toEqual(settings);
  expect(readdirSync(state)).toEqual(["projects"]);
  expect(readFileSync(join(state, "projects/p-1/cloche.sqlite"), "utf8")).toBe("sessions");
  expect(existsSync(join(home, "Cloche"))).toBe(false);
  expect(said).toContain("--purge removes them too");
});

test("purge removes the sessions too", () => {
  undo("--purge");
  expect(existsSync(state)).toBe(false);
});

test("files in the folder made for Claude Desktop are the person's and stay", () => {
  writeFileSync(join(home, "Cloche/report.csv"), "a,b");
  expect(undo("--purge")).toContain(join(home, "Cloche"));
  expect(readFileSync(join(home, "Cloche/report.csv"), "utf8")).toBe("a,b");
});

test("undoing twice is as good as once", () => {
  undo("--uninstall");
  undo("--uninstall");
  undo("--purge");
  undo("--purge");
  expect(existsSync(state)).toBe(false);
});

/** A clone with nothing in it but the scripts: what setup.sh removes there, nobody misses. */
function bareClone(): string {
  const made = join(home, "clone");
  mkdirSync(join(made, "node_modules"), { recursive: true });
  cpSync(join(clone, "setup.sh"), join(made, "setup.sh"));
  cpSync(join(clone, "scripts"), join(made, "scripts"), { recursive: true });
  return made;
}

function setup(from: string, option: string) {
  const env = { HOME: home, XDG_STATE_HOME: join(home, "state"), PATH: process.env.PATH };
  return spawnSync(join(from, "setup.sh"), [option], { encoding: "utf8", env });
}

test("a clone does not undo what another clone set up", () => {
  const from = bareClone();
  const asked = setup(from, "--purge");
  expect(asked.status).toBe(2);
  expect(asked.stderr).toContain(clone);
  expect(existsSync(launcher)).toBe(true);
  expect(existsSync(join(from, "node_modules"))).toBe(true);
});

test("sessions that an uninstall kept can be purged when nothing else is left", () => {
  const from = bareClone();
  undo("--uninstall");
  rmSync(join(from, "node_modules"), { recursive: true });
  expect(setup(from, "--uninstall").stderr).toContain("Nothing to undo");
  expect(existsSync(join(state, "projects/p-1"))).toBe(true);
  expect(setup(from, "--purge").status).toBe(0);
  expect(existsSync(state)).toBe(false);
});
