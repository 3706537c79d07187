// The command `cloche` on the path: it starts the clone under setup's Node with the state and engine of the set-up.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  carriedEnvironment,
  launcherPath,
  removeLauncher,
  writeLauncher,
} from "../../scripts/install/launcher.ts";
import { readSurroundings } from "../../src/config/surroundings.ts";

let folder: string;
let launcher: string;
let main: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cloche-launcher-"));
  launcher = join(folder, "bin/cloche");
  main = join(folder, "it's a $HOME `clone`.mjs");
  writeFileSync(
    main,
    "console.log(JSON.stringify([process.argv.slice(2), process.env.XDG_STATE_HOME, process.execPath]))",
  );
});
afterEach(() => rmSync(folder, { recursive: true }));

const program = () => ({ node: process.execPath, main });
const call = (args: string[], env: Record<string, string> = {}) =>
  JSON.parse(spawnSync(launcher, args, { encoding: "utf8", env: { PATH: "/usr/bin:/bin", ...env } }).stdout);

test("arguments pass through unchanged, under the Node that was recorded, whatever the path looks like", () => {
  writeLauncher(launcher, program(), {});
  expect(call(["serve", "--project", "a b'c"])).toEqual([
    ["serve", "--project", "a b'c"],
    null,
    process.execPath,
  ]);
});

test("a thin environment gets the state directory of the set-up, and a caller's own wins", () => {
  const state = join(folder, "it's $state");
  writeLauncher(launcher, program(), { XDG_STATE_HOME: state });
  expect(call([])[1]).toBe(state);
  expect(call([], { XDG_STATE_HOME: "/own" })[1]).toBe("/own");
});

test("only what says where state and engine are is carried, never a secret", () => {
  const env = { XDG_STATE_HOME: "/s", DOCKER_HOST: "unix:///d", ANTHROPIC_API_KEY: "sk", PATH: "/bin" };
  expect(carriedEnvironment(env)).toEqual({ XDG_STATE_HOME: "/s", DOCKER_HOST: "unix:///d" });
});

test("a program of that name that is not ours is neither replaced nor removed", () => {
  mkdirSync(join(folder, "bin"));
  writeFileSync(launcher, "#!/bin/sh\necho mine\n");
  expect(() => writeLauncher(launcher, program(), {})).toThrow(/another program/);
  expect(removeLauncher(launcher)).toBe(false);
  expect(readFileSync(launcher, "utf8")).toBe("#!/bin/sh\necho mine\n");
});

test("writing it again renews it, and removing it leaves nothing", () => {
  writeLauncher(launcher, { node: "/old/node", main }, {});
  writeLauncher(launcher, program(), {});
  expect(statSync(launcher).mode & 0o777).toBe(0o755);
  expect(call([])[2]).toBe(process.execPath);
  expect(removeLauncher(launcher)).toBe(true);
  expect(removeLauncher(launcher)).toBe(false);
});

test("root's launcher lies in /usr/local/bin unless ~/.local/bin is on the path", () => {
  const place = (uid: number, path: string) =>
    launcherPath({ ...readSurroundings({ PATH: path }), home: "/home/ada", uid });
  expect(place(0, "/usr/bin")).toBe("/usr/local/bin/cloche");
  expect(place(0, "/usr/bin:/home/ada/.local/bin")).toBe("/home/ada/.local/bin/cloche");
  expect(place(1000, "/usr/bin")).toBe("/home/ada/.local/bin/cloche");
});
