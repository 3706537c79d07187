// Settings from every source: which one wins, what a project may change, and what wrong ones are told.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ConfigOptions, resolveConfig } from "../../src/config/config.ts";
import { knownProjects } from "../../src/config/known-projects.ts";
import { prepareState, projectSlug } from "../../src/config/paths.ts";
import { configSchema } from "../../src/config/schema.ts";
import { formatSize, parseSize } from "../../src/config/sizes.ts";
import type { Surroundings } from "../../src/config/surroundings.ts";
import { recordTrust, revokeTrust } from "../../src/config/trust.ts";
import type { ClocheError } from "../../src/shared/errors.ts";

const GiB = 1024 ** 3;

let base: string;
let home: string;
let project: string;
let around: Surroundings;

beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), "cloche-config-")));
  home = join(base, "home");
  project = join(base, "project");
  for (const directory of [home, project, join(base, "data"), join(base, "data/inner"), join(base, "secret")])
    mkdirSync(directory);
  around = { env: {}, cwd: project, home, uid: 1000, memory: 16 * GiB, cpus: 8 };
});

afterEach(() => rmSync(base, { recursive: true, force: true }));

const resolve = (options: ConfigOptions = {}, changes: Partial<Surroundings> = {}) =>
  resolveConfig(options, { ...around, ...changes });

function own(settings: unknown): string {
  const path = join(home, ".config/cloche/config.json");
  mkdirSync(join(home, ".config/cloche"), { recursive: true });
  writeFileSync(path, typeof settings === "string" ? settings : JSON.stringify(settings));
  return path;
}

function theirs(settings: unknown): string {
  const path = join(project, ".cloche.json");
  writeFileSync(path, typeof settings === "string" ? settings : JSON.stringify(settings));
  return path;
}

function trust(): void {
  const { paths, projectFile } = resolve();
  recordTrust(paths.trust, project, projectFile!.sha256);
}

function failure(work: () => unknown): ClocheError {
  try {
    work();
  } catch (error) {
    return error as ClocheError;
  }
  throw new Error("nothing was thrown");
}

describe("values", () => {
  test("without any file the defaults follow the machine", () => {
    const config = resolve();
    expect(config.limits).toEqual({ memory: 8 * GiB, cpus: 7, processes: 512, tmpfs: 2 * GiB });
    expect(config).toMatchObject({
      sandbox: "auto",
      idlePauseMinutes: 10,
      roots: [],
      output: "cloche-out",
      warnings: [],
    });
    expect(new Set(Object.values(config.origins))).toEqual(new Set(["default", "working directory"]));
  });

  test("a small machine gets 2 GiB and one processor all the same", () => {
    expect(resolve({}, { memory: GiB, cpus: 1 }).limits).toMatchObject({ memory: 2 * GiB, cpus: 1 });
  });

  test("a flag beats the environment, which beats the project, which beats config.json", () => {
    const path = own({ memory: "7GiB", cpus: 6, processes: 400, idlePauseMinutes: 9 });
    theirs({ memory: "6GiB", cpus: 5, processes: 300 });
    const config = resolve({ memory: "4GiB" }, { env: { CLOCHE_MEMORY: "5GiB", CLOCHE_CPUS: "2.5" } });
    expect(config).toMatchObject({
      memory: 4 * GiB,
      cpus: 2.5,
      processes: 300,
      idlePauseMinutes: 9,
      tmpfs: GiB,
    });
    expect(config.origins).toMatchObject({
      memory: "--memory",
      cpus: "environment CLOCHE_CPUS",
      processes: ".cloche.json",
      idlePauseMinutes: path,
    });
  });

  test("sizes are read with and without units", () => {
    for (const [text, bytes] of [
      ["512MB", 512e6],
      ["1.5GiB", 1.5 * GiB],
      ["2g", 2 * GiB],
      [" 300 MiB ", 300 * 1024 ** 2],
      ["4294967296", 4 * GiB],
    ] as const)
      expect([text, parseSize(text)]).toEqual([text, bytes]);
    for (const text of ["", "GiB", "-1GB", "1 apple", "1e9", "0x10"])
      expect([text, parseSize(text)]).toEqual([text, undefined]);
    for (const text of [
      "20 GB",
      "512 MB",
      "1.25 GiB",
      "1.1 GiB",
      "8 GiB",
      "1.5 KiB",
      "1023 bytes",
      "0 bytes",
    ])
      expect(formatSize(parseSize(text.replace(/ ?bytes/, ""))!)).toBe(text);
    expect([3_313_664, 25_769_803_777].map(formatSize)).toEqual(["3.2 MiB", "24 GiB"]);
  });

  test("more processors than the machine has are cut to what it has, with a sentence", () => {
    own({ cpus: 64 });
    const { cpus, warnings } = resolve();
    expect(cpus).toBe(8);
    expect(warnings).toEqual([expect.stringContaining("this machine has 8: 8 are used")]);
  });

  test("DOCKER_HOST goes before the setting, and so does a named context", () => {
    own({ dockerHost: "unix:///own.sock" });
    expect(resolve().docker).toMatchObject({
      host: "unix:///own.sock",
      configDirectory: join(home, ".docker"),
    });
    expect(resolve({}, { env: { DOCKER_HOST: "tcp://engine:2375" } }).docker.host).toBe("tcp://engine:2375");
    const named = resolve({}, { env: { DOCKER_CONTEXT: "colima" } }).docker;
    expect([named.host, named.context]).toEqual([undefined, "colima"]);
  });
});

describe("the project directory", () => {
  test("--project beats CLAUDE_PROJECT_DIR, which beats the working directory", () => {
    const env = { CLAUDE_PROJECT_DIR: join(base, "data") };
    expect(resolve({ project: "../secret" }, { env }).project).toBe(join(base, "secret"));
    expect(resolve({}, { env })).toMatchObject({ project: join(base, "data") });
    expect(resolve({}, { env }).origins.project).toBe("environment CLAUDE_PROJECT_DIR");
    expect(resolve().project).toBe(project);
  });

  test("a link and its target are one project", () => {
    symlinkSync(project, join(base, "link"));
    expect(resolve({ project: join(base, "link") })).toMatchObject({ project, paths: resolve().paths });
  });

  test("two projects of one name have different state", () => {
    expect(projectSlug("/a/My Data (2)")).toMatch(/^my-data-2-[0-9a-f]{8}$/);
    expect(projectSlug("/a/data")).not.toBe(projectSlug("/b/data"));
    expect(projectSlug(`/a/${"x".repeat(99)}`)).toMatch(/^x{24}-[0-9a-f]{8}$/);
    expect(projectSlug("/a/数据")).toMatch(/^[0-9a-f]{8}$/);
  });

  test.each([
    [
      "a missing directory",
      "/no/such/place",
      /"\/no\/such\/place" \(--project\) does not exist.*Name one with --project/,
    ],
    ["a variable nobody expanded", `\${CLAUDE_PROJECT_DIR}`, /does not exist/],
    ["the whole file system", "/", /is the whole file system/],
    ["nothing", "", /is empty/],
  ])("%s is refused with a sentence", (_, given, sentence) => {
    expect(failure(() => resolve({ project: given })).sentence).toMatch(sentence);
  });

  test("a project that holds the home directory is said to be wide", () => {
    expect(resolve({ project: home }).warnings).toEqual([expect.stringContaining("your home directory")]);
  });

  test("a deleted project keeps the state it had", () => {
    const before = resolve().paths.projectState;
    rmSync(project, { recursive: true });
    expect(resolve({ project, mayBeGone: true }).paths.projectState).toBe(before);
  });
});

describe("wrong settings", () => {
  test.each([
    ["a misspelt key", { memroy: 1 }, /config\.json has an unknown key "memroy"; did you mean "memory"\?/],
    ["a foreign key", { telemetry: true }, /unknown key "telemetry"\. The keys are sandbox, memory/],
    ["a size that is none", { memory: "much" }, /memory: expected a size such as "8GiB"/],
    ["too little memory", { memory: "1MB" }, /memory: must be at least 256 MiB/],
    ["a wrong type", { cpus: "two" }, /cpus: expected a number, not a string/],
    [
      "an unknown sandbox",
      { sandbox: "podman" },
      /sandbox: expected one of "auto" or "docker" or "bubblewrap"/,
    ],
    ["an output that leaves the project", { output: "../x" }, /output: expected a plain directory name/],
    ["a hidden output", { output: ".git" }, /output: expected a plain directory name/],
    ["broken JSON", "{", /config\.json is not valid JSON/],
    ["no object", "[]", /config\.json: expected an object, not a list/],
    ["a relative root", { roots: ["data"] }, /root "data" is not absolute/],
    ["a pattern as root", { roots: ["/srv/*"] }, /root "\/srv\/\*" is a pattern/],
    ["the file system as root", { roots: ["/"] }, /root "\/" is the whole file system/],
    ["the home directory as root", { roots: ["~"] }, /root "~" holds your whole home directory/],
    ["system directories as root", { roots: ["/proc/self"] }, /is a system directory/],
  ])("%s is named with file and key", (_, settings, sentence) => {
    own(settings);
    const error = failure(resolve);
    expect(error.code).toBe("config.invalid");
    expect(error.sentence).toMatch(sentence);
  });

  test("a directory above home is refused as root too", () => {
    own({ roots: [base] });
    expect(failure(resolve).sentence).toContain("holds your whole home directory");
  });

  test.each([
    ["CLOCHE_SANDBOX", "podman", /the variable CLOCHE_SANDBOX: expected one of .* not "podman"/],
    ["CLOCHE_MEMORY", "12x", /the variable CLOCHE_MEMORY: expected a size/],
    ["CLOCHE_CPUS", "many", /the variable CLOCHE_CPUS: expected a number/],
    ["CLOCHE_PROCESSES", "1.5", /the variable CLOCHE_PROCESSES: /],
    ["DOCKER_HOST", "engine", /the variable DOCKER_HOST: expected an address such as/],
  ])("%s=%s is named", (variable, value, sentence) => {
    expect(failure(() => resolve({}, { env: { [variable]: value } })).sentence).toMatch(sentence);
  });

  test("an empty variable is no setting", () => {
    expect(resolve({}, { env: { CLOCHE_MEMORY: "", CLAUDE_PROJECT_DIR: "" } }).origins.memory).toBe(
      "default",
    );
  });

  test("a root that does not exist is left out with a sentence", () => {
    own({ roots: [join(base, "data"), "/no/such/root"] });
    const { roots, warnings } = resolve();
    expect(roots).toEqual([join(base, "data")]);
    expect(warnings).toEqual([
      expect.stringMatching(/names the root \/no\/such\/root, which does not exist/),
    ]);
  });

  test("roots cannot come from the environment", () => {
    expect(resolve({}, { env: { CLOCHE_ROOTS: base, CLOCHE_DENY: "x" } }).roots).toEqual([]);
  });
});

describe("a project's own file", () => {
  test("narrows without being trusted", () => {
    own({ memory: "8GiB", roots: [join(base, "data"), join(base, "secret")], deny: ["*.bak"] });
    theirs({ memory: "1GiB", roots: ["../data/inner"], deny: ["*.raw", "*.bak"], idlePauseMinutes: 1 });
    const config = resolve();
    expect(config).toMatchObject({
      memory: GiB,
      roots: [join(base, "data/inner")],
      deny: ["*.bak", "*.raw"],
      idlePauseMinutes: 1,
      warnings: [],
    });
    expect(config.origins.deny).toMatch(/config\.json and \.cloche\.json$/);
  });

  test("widens nothing before it is trusted, and each wider key is reported", () => {
    own({ memory: "2GiB", roots: [join(base, "data")] });
    const wider = {
      memory: "4GiB",
      cpus: 8,
      processes: 9_999,
      roots: [join(base, "data/inner"), join(base, "secret")],
      sandbox: "bubblewrap",
      output: "src",
      dockerHost: "tcp://evil:2375",
      logLevel: "error",
      sessions: 500,
      idlePauseMinutes: 9_999,
      disk: "1TB",
      tmpfs: "1GiB",
    };
    theirs(wider);
    const before = resolve();
    expect(before).toMatchObject({
      memory: 2 * GiB,
      cpus: 7,
      processes: 512,
      roots: [join(base, "data/inner")],
      sandbox: "auto",
      output: "cloche-out",
      logLevel: "info",
      sessions: 64,
      idlePauseMinutes: 10,
      disk: 20e9,
    });
    expect(before.docker.host).toBeUndefined();
    expect(before.warnings).toHaveLength(12);
    expect(before.warnings.join("\n")).toMatch(
      /asks for memory of 4 GiB, which is more than 2 GiB: ignored until you run `cloche trust`/,
    );
    expect(before.warnings.join("\n")).toContain(`the root ${join(base, "secret")}:`);

    trust();
    const after = resolve();
    expect(after).toMatchObject({
      memory: 4 * GiB,
      cpus: 8,
      processes: 9_999,
      roots: [join(base, "data/inner"), join(base, "secret")],
      sandbox: "bubblewrap",
      output: "src",
      warnings: [],
    });
    expect(after.docker.host).toBe("tcp://evil:2375");
    expect(after.origins.memory).toBe(".cloche.json (trusted)");
  });

  test("is trusted for exactly the content that was seen, and until that is taken back", () => {
    theirs({ memory: "12GiB" });
    trust();
    expect(resolve().memory).toBe(12 * GiB);
    theirs({ memory: "13GiB" });
    expect(resolve().memory).toBe(8 * GiB);
    theirs({ memory: "12GiB" });
    expect(resolve().memory).toBe(12 * GiB);
    revokeTrust(resolve().paths.trust);
    expect(resolve().memory).toBe(8 * GiB);
  });

  test("is trusted for its project alone: a copy elsewhere is not", () => {
    theirs({ memory: "12GiB" });
    trust();
    writeFileSync(join(base, "secret/.cloche.json"), readFileSync(join(project, ".cloche.json")));
    expect(resolve({ project: join(base, "secret") }).memory).toBe(8 * GiB);
  });

  test("is not trusted by a record that lies in the project", () => {
    theirs({ memory: "12GiB" });
    const { paths, projectFile } = resolve();
    recordTrust(paths.trust, "/another/project", projectFile!.sha256);
    expect(resolve().memory).toBe(8 * GiB);
  });

  test("is named when it is a link, a directory or wrong", () => {
    writeFileSync(join(base, "secret/real.json"), '{"memory": "1GiB"}');
    symlinkSync(join(base, "secret/real.json"), join(project, ".cloche.json"));
    expect(failure(resolve).sentence).toMatch(/\.cloche\.json is a link, and only a regular file is read/);
    rmSync(join(project, ".cloche.json"));
    mkdirSync(join(project, ".cloche.json"));
    expect(failure(resolve).sentence).toMatch(/\.cloche\.json is not a regular file/);
    rmSync(join(project, ".cloche.json"), { recursive: true });
    theirs({ "den\u001b[2Jy": [] });
    const { sentence } = failure(resolve);
    expect(sentence).toMatch(/unknown key/);
    expect(sentence).not.toContain("\u001b");
  });

  test("cannot put terminal codes into what the person reads", () => {
    mkdirSync(join(base, "evil\u001b[2J"));
    theirs({ roots: ["../evil\u001b[2J"] });
    const { warnings, projectFile } = resolve();
    expect(warnings).toHaveLength(1);
    expect(warnings.join() + projectFile!.asks.join()).not.toContain("\u001b");
  });

  test("of more than 256 KiB is not read", () => {
    theirs(" ".repeat(300_000));
    expect(failure(resolve).sentence).toContain("larger than 256 KiB");
  });
});

describe("state", () => {
  test("lies where XDG says, and root's where a dropped uid can enter", () => {
    expect(resolve().paths.state).toBe(join(home, ".local/state/cloche"));
    expect(resolve({}, { uid: 0 }).paths.state).toBe("/var/lib/cloche");
    expect(resolve({}, { uid: 0, env: { XDG_STATE_HOME: "/s" } }).paths.state).toBe("/s/cloche");
    expect(resolve({}, { env: { XDG_STATE_HOME: "relative" } }).paths.state).toBe(
      join(home, ".local/state/cloche"),
    );
    expect(resolve({}, { env: { XDG_CONFIG_HOME: "/c" } }).guarded).toContain("/c/cloche");
  });

  test("directories have the modes that the sandboxes and the person need, whatever the umask", () => {
    const { paths } = resolve();
    const before = process.umask(0o077);
    try {
      prepareState(paths, process.getuid!());
    } finally {
      process.umask(before);
    }
    const modes = Object.fromEntries(
      (
        ["state", "run", "scratch", "python", "kernel", "owners", "projects", "projectState", "logs"] as const
      ).map((name) => [name, (statSync(paths[name]).mode & 0o777).toString(8)]),
    );
    expect(modes).toEqual({
      state: "711",
      run: "711",
      scratch: "711",
      python: "755",
      kernel: "755",
      owners: "700",
      projects: "700",
      projectState: "700",
      logs: "700",
    });
    chmodSync(paths.projectState, 0o777);
    prepareState(paths, process.getuid!());
    expect(statSync(paths.projectState).mode & 0o777).toBe(0o700);
    expect(knownProjects(paths)).toEqual([{ project, state: paths.projectState }]);
  });

  test("of another user is not used", () => {
    const { paths } = resolve();
    mkdirSync(paths.state, { recursive: true });
    const error = failure(() => prepareState(paths, process.getuid!() + 1));
    expect(error.code).toBe("store.readonly");
    expect(error.sentence).toMatch(/belongs to another user.*XDG_STATE_HOME/);
    expect(existsSync(paths.projectState)).toBe(false);
  });
});

test("the schema that ships is the one the settings make", () => {
  const shipped = readFileSync(join(import.meta.dirname, "../../src/config/config.schema.json"), "utf8");
  expect(JSON.parse(shipped)).toEqual(configSchema());
});
