// What keeps bubblewrap from serving is named with the remedy that mends it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { countsProcessesInside } from "../../src/sandboxes/bubblewrap-arguments.ts";
import {
  APPARMOR_PROFILE,
  explainDenial,
  findProblems,
  installLine,
} from "../../src/sandboxes/bubblewrap-checks.ts";

const settings = (values: Record<string, string>) => (path: string) => values[path];

test("AppArmor's restriction comes with the profile that lifts it and the command that loads it", () => {
  const found = explainDenial(
    "bwrap: setting up uid map: Permission denied",
    settings({ "kernel/apparmor_restrict_unprivileged_userns": "1" }),
  );
  expect(found.problem).toMatch(/AppArmor/);
  expect(found.remedy).toContain(APPARMOR_PROFILE);
  expect(found.remedy).toContain("/etc/apparmor.d/bwrap");
  expect(found.remedy).toContain("sudo apparmor_parser -r /etc/apparmor.d/bwrap");
});

test.each([
  [{ "kernel/unprivileged_userns_clone": "0" }, "kernel.unprivileged_userns_clone=1"],
  [{ "user/max_user_namespaces": "0" }, "user.max_user_namespaces=15000"],
])("a kernel that denies user namespaces %o gets the setting that allows them", (values, setting) => {
  expect(explainDenial("bwrap: No permissions", settings(values)).remedy).toContain(setting);
});

test("any other denial repeats bubblewrap's own complaint", () => {
  expect(explainDenial("bwrap: Operation not permitted", settings({})).problem).toContain(
    "Operation not permitted",
  );
});

test.each([
  ["ID=ubuntu\nID_LIKE=debian\n", "apt-get install"],
  ["ID=debian\n", "apt-get install"],
  ['ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install"],
  ["ID=manjaro\nID_LIKE=arch\n", "pacman -S"],
  ["ID=nixos\n", "your distribution"],
])("%j is told how to install it", (osRelease, line) => {
  expect(installLine("bubblewrap", osRelease)).toContain(line);
});

test.runIf(process.platform === "linux")(
  "an environment that setup has not made yet is a problem",
  async () => {
    const problems = await findProblems({ python: undefined, reached: [], uid: process.getuid!() });
    expect(problems.map(({ remedy }) => remedy).join()).toContain("./setup.sh");
  },
);

test.runIf(process.getuid?.() === 0)("a directory that the dropped user cannot enter is named", async () => {
  const closed = mkdtempSync(join(tmpdir(), "cloche-closed-")); // 0700
  const problems = await findProblems({ python: undefined, reached: [closed], uid: 0 });
  rmSync(closed, { recursive: true });
  expect(problems.map(({ problem }) => problem).join("\n")).toContain(
    `${closed} can be entered by root only`,
  );
});

test("processes are limited from inside only where the kernel counts them there", () => {
  expect(
    ["5.10.0-21-amd64", "5.14.0", "6.8.0-45-generic", "4.18.0"].map((kernel) =>
      countsProcessesInside(kernel),
    ),
  ).toEqual([false, true, true, false]);
});
