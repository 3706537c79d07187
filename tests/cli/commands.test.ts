// The commands as a person runs them: the real program in its own process, with a home of its own.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openLogFile } from "../../src/config/log-file.ts";
import { type Paths, prepareState } from "../../src/config/paths.ts";
import { Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";
import { type Home, MAIN, makeHome, runCloche } from "./home.ts";

let home: Home;
let base: string;
let project: string;
let env: Record<string, string>;
let paths: Paths;

beforeEach(() => {
  home = makeHome();
  ({ base, project, env, paths } = home);
});

afterEach(() => rmSync(base, { recursive: true, force: true }));

const cloche = (...args: string[]) => runCloche(home, args);
const clocheWith = (more: Record<string, string>, ...args: string[]) => runCloche(home, args, more);

/** What a server leaves: a session with `cells` cells, held while `holds`. */
function serve(cells: number, { name = "main", code = "1" } = {}): Disposable {
  prepareState(paths, process.getuid!());
  const owners = new Owners(paths.owners);
  const lease = owners.lease();
  const store = new SqliteStore(paths.database, owners, lease.token);
  const { id } = store.claim(name, lease.token).session;
  for (let n = 0; n < cells; n += 1) store.beginCell(id, "exec", code);
  return {
    [Symbol.dispose]: () => {
      store[Symbol.dispose]();
      lease[Symbol.dispose]();
    },
  };
}

describe("usage", () => {
  test.each([
    [["cofnig"], /unknown command 'cofnig'\n\(Did you mean config\?\)/],
    [["logs", "--lines", "many"], /It must be a whole number/],
    [["config", "--jsno"], /unknown option '--jsno'\n\(Did you mean --json\?\)/],
    [
      ["sessions", "--project", "/no/such/place"],
      /^cloche: the project directory "\/no\/such\/place" \(--project\) does not exist\./,
    ],
    [["doctor", "--sandbox", "podman"], /--sandbox: expected one of .* not "podman"/],
  ])("%j is answered with what to do, on stderr, and code 2", (args, expected) => {
    const { code, out, err } = cloche(...args);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toMatch(expected);
    expect(err).not.toMatch(/^\s+at /m);
  });

  test("the overview has one line for each command, in one voice", () => {
    const { out } = cloche("--help");
    const [, commands = ""] = out.split("Commands:\n");
    const lines = commands.trimEnd().split("\n");
    expect(lines).toHaveLength(8);
    for (const line of lines) expect(line).toMatch(/^ {2}[a-z]+ \[\w+\] +[a-z].*[^.]$/);
  });

  test("every command explains itself", () => {
    for (const command of ["doctor", "config", "trust", "sessions", "logs", "forget"]) {
      const { code, out } = cloche(command, "--help");
      expect([command, code]).toEqual([command, 0]);
      expect(out).toContain(`Usage: cloche ${command}`);
    }
  });
});

describe("config", () => {
  test("prints each value with where it came from", () => {
    mkdirSync(join(base, "config/cloche"), { recursive: true });
    writeFileSync(paths.userConfig, '{"memory": "3GiB"}');
    const { code, out } = clocheWith({ CLOCHE_CPUS: "1" }, "config");
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`^project +${project} +working directory$`, "m"));
    expect(out).toMatch(new RegExp(`^memory +3 GiB +${paths.userConfig}$`, "m"));
    expect(out).toMatch(/^cpus +1 +environment CLOCHE_CPUS$/m);
    expect(out).toMatch(/^output +cloche-out +default$/m);
  });

  test("as JSON gives the same to programs", () => {
    const { out } = cloche("config", "--json", "--project", project);
    expect(JSON.parse(out)).toMatchObject({
      project: { value: project, origin: "--project" },
      settings: { output: { value: "cloche-out", origin: "default" }, processes: { value: 512 } },
      warnings: [],
    });
  });

  test("prints no secret of the environment", () => {
    const { out } = clocheWith({ ANTHROPIC_API_KEY: "sk-ant-should-not-show" }, "config", "--json");
    expect(out).not.toContain("should-not-show");
  });
});

describe("trust", () => {
  const file = () => join(project, ".cloche.json");

  test("shows what is asked for, and records only on agreement", () => {
    writeFileSync(file(), '{"memory": "900GiB", "cpus": 0.5}');
    const shown = cloche("trust", "--show");
    expect(shown.code).toBe(0);
    expect(shown.out).toMatch(
      /It is not trusted, so this is ignored:\n- memory of 900 GiB, which is more than/,
    );
    expect(cloche("config").out).toMatch(/^cpus +0\.5 +\.cloche\.json$/m);

    const unasked = cloche("trust");
    expect(unasked.code).toBe(2);
    expect(unasked.err).toContain("there is no terminal to ask at. Run it in a terminal, or add --yes.");
    expect(cloche("config").out).not.toMatch(/900 GiB +\.cloche/);

    expect(cloche("trust", "--yes").out).toContain("Trusted.");
    expect(cloche("config").out).toMatch(/^memory +900 GiB +\.cloche\.json \(trusted\)$/m);
    expect(cloche("trust", "--revoke").code).toBe(0);
    expect(cloche("config").out).not.toMatch(/^memory +900 GiB/m);
  });

  test("is taken back also where the file is broken, and the other commands still work", () => {
    writeFileSync(file(), '{"memory": "900GiB"}');
    expect(cloche("trust", "--yes").out).toContain("Trusted.");
    writeFileSync(file(), "{");
    expect(cloche("trust").err).toContain(".cloche.json is not valid JSON");
    expect(cloche("trust", "--revoke")).toMatchObject({ code: 0, err: "" });
    expect(existsSync(paths.trust)).toBe(false);
    expect(cloche("sessions")).toMatchObject({ code: 0 });
    expect(cloche("logs")).toMatchObject({ code: 0 });
    expect(cloche("forget", "--yes")).toMatchObject({ code: 0, err: "" });
  });

  test("is the person's to give: Claude cannot run it", () => {
    writeFileSync(file(), '{"memory": "900GiB"}');
    const { code, err } = clocheWith({ CLAUDECODE: "1" }, "trust", "--yes");
    expect(code).toBe(1);
    expect(err).toContain("the person's decision");
    expect(cloche("trust", "--show").out).toContain("not trusted");
  });

  test("has nothing to say without a file, or about one that only narrows", () => {
    expect(cloche("trust", "--yes").out).toContain("has no .cloche.json: nothing to trust");
    writeFileSync(file(), '{"cpus": 0.5}');
    expect(cloche("trust", "--yes").out).toContain("There is nothing to agree to.");
    expect(existsSync(paths.trust)).toBe(false);
  });
});

describe("sessions and forget", () => {
  test("a project without sessions says so", () => {
    expect(cloche("sessions").out).toBe(`${project} has no sessions yet.\n`);
    expect(cloche("forget", "--yes").out).toBe(`Nothing is kept of ${project}.\n`);
    expect(existsSync(paths.projectState)).toBe(false);
  });

  test("a held session is shown as held, and its project is not forgotten", () => {
    using _server = serve(3);
    expect(cloche("sessions").out).toMatch(
      /^ {2}main {2}3 cells {2}1 branch {2}0 bytes {2}just now {2}held by a running server$/m,
    );
    const { code, err } = cloche("forget", "--yes");
    expect(code).toBe(1);
    expect(err).toMatch(/a running server holds main .*Close the Claude sessions/);
    expect(existsSync(paths.database)).toBe(true);
  });

  test("a free project is forgotten after saying what goes, and only on agreement", () => {
    serve(2)[Symbol.dispose]();
    const unasked = cloche("forget");
    expect(unasked.code).toBe(2);
    expect(unasked.out).toMatch(
      /main {2}2 cells .*free\nThis removes .* in .*\nThe project's own files, cloche-out\/ included, stay\./,
    );
    expect(existsSync(paths.database)).toBe(true);
    const done = cloche("forget", "--yes");
    expect([done.code, done.err]).toEqual([0, ""]);
    expect(existsSync(paths.projectState)).toBe(false);
    expect(existsSync(project)).toBe(true);
  });

  test("one session is forgotten, with everything it wrote, and the others stay", () => {
    serve(2, { name: "secret", code: "token = 'SECRET-CANARY'" })[Symbol.dispose]();
    serve(1)[Symbol.dispose]();
    const unasked = cloche("forget", "--session", "secret");
    expect(unasked.code).toBe(2);
    expect(unasked.out).toMatch(/secret {2}2 cells .*\nThis removes its cells, outputs and figures\./);
    expect(readFileSync(paths.database).includes("SECRET-CANARY")).toBe(true);
    const done = cloche("forget", "--session", "secret", "--yes");
    expect([done.code, done.err]).toEqual([0, ""]);
    expect(cloche("sessions").out).toMatch(/main {2}1 cell /);
    expect(cloche("sessions").out).not.toContain("secret");
    for (const file of readdirSync(paths.projectState, { recursive: true, withFileTypes: true }))
      if (file.isFile())
        expect(readFileSync(join(file.parentPath, file.name)).includes("SECRET-CANARY"), file.name).toBe(
          false,
        );
    const gone = cloche("forget", "--session", "secret", "--yes");
    expect(gone.code).toBe(2);
    expect(gone.err).toContain("has no session secret. `cloche sessions` lists them.");
  });

  test("a session that is held is not forgotten, and one beside it is", () => {
    serve(1, { name: "side", code: "1" })[Symbol.dispose]();
    using _server = serve(1);
    const held = cloche("forget", "--session", "main", "--yes");
    expect(held.code).toBe(1);
    expect(held.err).toMatch(/a running server holds session main\. Close the Claude session/);
    expect(cloche("forget", "--session", "side", "--yes").code).toBe(0);
    expect(cloche("sessions").out).not.toContain("side");
  });

  test("a project that was deleted is listed and can be forgotten", () => {
    serve(1)[Symbol.dispose]();
    renameSync(project, join(base, "elsewhere"));
    mkdirSync(join(base, "other"));
    const at = (...args: string[]) =>
      spawnSync(process.execPath, [MAIN, ...args], { cwd: join(base, "other"), env, encoding: "utf8" });
    expect(at("sessions", "--all").stdout).toMatch(new RegExp(`^${project} .*the directory is gone$`, "m"));
    expect(at("forget", "--yes", "--project", project).stdout).toContain("Forgotten.");
    expect(at("sessions", "--all").stdout).toBe("No project has state yet.\n");
    renameSync(join(base, "elsewhere"), project);
  });

  test("as JSON for programs", () => {
    serve(2)[Symbol.dispose]();
    expect(JSON.parse(cloche("sessions", "--json").out)).toEqual([
      { name: "main", cells: 2, branches: 1, bytes: 0, lastUsedAt: expect.any(Number), held: false },
    ]);
    expect(JSON.parse(cloche("sessions", "--all", "--json").out)).toMatchObject([{ project }]);
  });
});

describe("logs", () => {
  const log = () => openLogFile({ path: paths.logFile, level: "info", env: {}, stderr: () => {} });

  test("nothing logged yet is no failure", () => {
    expect(cloche("logs")).toMatchObject({ code: 0, out: "", err: "Nothing was logged yet.\n" });
  });

  test("the last lines are readable, of one session where asked, and cannot steer the terminal", () => {
    const main = log().child({ session: "main" });
    for (let n = 0; n < 5; n += 1) main.info("cell.ended", { cell: n });
    log().child({ session: "other" }).warn("sandbox.lost", { reason: "evil\u001b]0;title\u0007" });
    const { out } = cloche("logs", "-n", "2");
    expect(out).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ info {2}cell\.ended session=main cell=4$/m);
    expect(out.trimEnd().split("\n")).toHaveLength(2);
    expect(out).toContain("warn  sandbox.lost session=other");
    expect(out).not.toContain("\u001b");
    expect(cloche("logs", "--session", "main").out.trimEnd().split("\n")).toHaveLength(5);
    expect(cloche("logs", "--session", "nobody").err).toBe("No line is about session nobody.\n");
    expect(JSON.parse(cloche("logs", "--json", "-n", "1").out)).toMatchObject({ event: "sandbox.lost" });
  });

  test("more lines than the current file holds are read from the rotated ones", () => {
    const small = openLogFile({ path: paths.logFile, level: "info", env: {}, maxBytes: 400 });
    for (let n = 0; n < 10; n += 1) small.info("line", { n });
    const numbers = cloche("logs", "--json", "-n", "8")
      .out.trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).n);
    expect(numbers).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("following shows new lines as they come, through a rotation", async () => {
    log().info("before");
    const follower = spawn(process.execPath, [MAIN, "logs", "-f", "--json"], { cwd: project, env });
    const lines = createInterface({ input: follower.stdout })[Symbol.asyncIterator]();
    const next = async () => JSON.parse(String((await lines.next()).value)).event;
    try {
      expect(await next()).toBe("before");
      log().info("after");
      expect(await next()).toBe("after");
      log().info("last of the old file");
      renameSync(paths.logFile, `${paths.logFile}.1`);
      log().info("first of the new file");
      expect(await next()).toBe("last of the old file");
      expect(await next()).toBe("first of the new file");
      appendFileSync(paths.logFile, '{"event": "ha');
      appendFileSync(paths.logFile, 'lf"}\n');
      expect(await next()).toBe("half");
    } finally {
      const gone = once(follower, "exit");
      follower.kill("SIGINT");
      await gone;
    }
  });
});
