// What doctor makes of the sandboxes' reports. The reports are given; the sandboxes' own tests hold them to the truth.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { CliContext } from "../../src/cli/context.ts";
import { registerDoctor } from "../../src/cli/doctor.ts";
import { resolveConfig } from "../../src/config/config.ts";
import { writeInstallation } from "../../src/config/installation.ts";
import type { Sandbox, SandboxReport } from "../../src/sandboxes/sandbox.ts";
import { ClocheError } from "../../src/shared/errors.ts";

let base: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "cloche-doctor-"));
  mkdirSync(join(base, "cloche"));
});

afterEach(() => rmSync(base, { recursive: true, force: true }));

const docker: SandboxReport = {
  kind: "docker",
  available: true,
  details: ["engine 28.1"],
  limits: { memory: "cgroup", cpus: "cgroup", processes: "not enforced" },
  problems: [],
};
const bubblewrap: SandboxReport = {
  kind: "bubblewrap",
  available: false,
  details: [],
  limits: {},
  problems: [
    {
      problem: "AppArmor forbids user namespaces",
      remedy: "Add this profile:\nabi <abi/4.0>,\nprofile bwrap {}",
    },
  ],
};

function sandbox(report: SandboxReport | ClocheError): Sandbox {
  const unused = () => Promise.reject(new Error("doctor starts nothing"));
  return {
    kind: report instanceof ClocheError ? "docker" : report.kind,
    inspect: async () => {
      if (report instanceof ClocheError) throw report;
      return report;
    },
    start: unused,
    reap: unused,
  };
}

async function doctor(reports: (SandboxReport | ClocheError)[], ...args: string[]) {
  let out = "";
  let code = 0;
  const env = { XDG_STATE_HOME: base, XDG_CONFIG_HOME: base };
  const around = {
    env,
    cwd: join(base, "cloche"),
    home: join(base, "home"),
    uid: process.getuid!(),
    memory: 2 ** 34,
    cpus: 4,
  };
  const unused = () => {
    throw new Error("doctor opens no record");
  };
  const context: CliContext = {
    resolveConfig: (options) => resolveConfig(options, around),
    sandboxes: async () => reports.map(sandbox),
    openStore: unused,
    openCleaner: unused,
    forget: unused,
    terminal: {
      print: (text) => {
        out += `${text}\n`;
      },
      complain: unused,
      confirm: unused,
      exitWith: (wanted) => {
        code = wanted;
      },
    },
  };
  const program = new Command().exitOverride();
  registerDoctor(program, context);
  await program.parseAsync(["doctor", ...args], { from: "user" });
  return { out, code };
}

function setUp(): void {
  writeInstallation(join(base, "cloche"), { version: 1, clone: "/clone", node: process.execPath });
}

test("the first sandbox that can serve is named, with what its limits rest on and what the other lacks", async () => {
  setUp();
  const { out, code } = await doctor([docker, bubblewrap]);
  expect(code).toBe(0);
  expect(out).toBe(
    `Cells run in docker.

docker: serves
  engine 28.1
  memory     cgroup
  cpus       cgroup
  processes  not enforced

bubblewrap: cannot serve
  ! AppArmor forbids user namespaces. Add this profile:
    abi <abi/4.0>,
    profile bwrap {}
`,
  );
});

test("when nothing can serve the exit code is 1", async () => {
  const { out, code } = await doctor([{ ...docker, available: false }, bubblewrap]);
  expect(code).toBe(1);
  expect(out).toContain("No sandbox can serve. Cloche refuses to run code until one can.");
});

test("a sandbox that is asked for is not replaced by another", async () => {
  const { out, code } = await doctor([docker, bubblewrap], "--sandbox", "bubblewrap");
  expect(code).toBe(1);
  expect(out).toContain("No sandbox can serve (bubblewrap is asked for by --sandbox)");
  expect(out).toContain("docker: could serve too");
});

test("a sandbox that cannot even be looked at is reported, not thrown", async () => {
  const failed = new ClocheError("timeout", { message: "the engine took longer than 10 s" });
  const { out, code } = await doctor([failed, { ...bubblewrap, available: true, problems: [] }]);
  expect(code).toBe(0);
  expect(out).toContain("Cells run in bubblewrap.");
  expect(out).toContain("! the engine took longer than 10 s. Try again");
});

test("a machine that was not set up is told so, and a Node that is gone is noticed", async () => {
  expect((await doctor([docker])).out).toContain(
    "! set-up has not run for this user. Run ./setup.sh in the clone.",
  );
  writeInstallation(join(base, "cloche"), { version: 1, clone: "/clone", node: "/gone/node" });
  expect((await doctor([docker])).out).toContain(
    "! the Node it was set up with, /gone/node, is gone. Run ./setup.sh again.",
  );
});

test("as JSON for programs", async () => {
  setUp();
  const { out } = await doctor([docker, bubblewrap], "--json");
  expect(JSON.parse(out)).toMatchObject({
    serves: "docker",
    sandboxes: [docker, bubblewrap],
    problems: [],
    warnings: [],
  });
});
