// What a failed download says: one sentence that names what could not be had, and what to do.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { explained, pipFailure, pullFailure } from "../../scripts/install/failures.ts";
import { nextStep } from "../../scripts/install/register.ts";

test("pip's own words about a package that is nowhere become a sentence that begins with its name", () => {
  const empty = mkdtempSync(join(tmpdir(), "cloche-index-"));
  onTestFinished(() => rmSync(empty, { recursive: true }));
  mkdirSync(join(empty, "links"));
  writeFileSync(join(empty, "wanted.txt"), "cloche-no-such-package==9.9\n");
  const pip = spawnSync(
    "python3",
    [
      "-m",
      "pip",
      "install",
      "--no-index",
      "--find-links",
      join(empty, "links"),
      "--target",
      join(empty, "t"),
      "-r",
      join(empty, "wanted.txt"),
    ],
    {
      encoding: "utf8",
      env: { PATH: process.env.PATH, PIP_CONFIG_FILE: "/dev/null", PIP_DISABLE_PIP_VERSION_CHECK: "1" },
    },
  );
  const output =
    pip.status === 1 && /No module named pip/.test(pip.stderr) ? WITHOUT_PIP : pip.stdout + pip.stderr;
  expect(pipFailure(output)).toMatch(/^cloche-no-such-package==9\.9 cannot be had for this Python: /);
  const ignored = `ERROR: Ignored the following versions that require a different python version: ${"1.18.0; ".repeat(90)}`;
  const error = explained(new Error(`pip ended with 1:\nLooking in links\n${ignored}\n${output}`)) as Error;
  expect(error.message.split("\n")[0]).toBe(pipFailure(output));
  expect(error.message).not.toMatch(/Looking in links|Ignored/);
});

/** What pip writes, for a machine that has none. */
const WITHOUT_PIP = `ERROR: Could not find a version that satisfies the requirement cloche-no-such-package==9.9 (from versions: none)
ERROR: No matching distribution found for cloche-no-such-package==9.9`;

test.each([
  [
    "a network that is down is not the package's fault",
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for numpy==2.4.0",
    /^numpy==2\.4\.0 cannot be fetched, because pip does not reach its index\. Check the network/,
  ],
  [
    "a line that is no requirement",
    "ERROR: Invalid requirement: 'two words': Expected end or semicolon (from line 1 of extra.txt)",
    /^"two words" is no requirement that pip understands/,
  ],
  [
    "versions that exclude each other",
    "ERROR: Cannot install numpy==2.4.1 and pandas==0.1 because these package versions have conflicting dependencies.",
    /^numpy==2\.4\.1 and pandas==0\.1 cannot be installed together\. Loosen/,
  ],
])("%s", (_, output, sentence) => expect(pipFailure(output)).toMatch(sentence));

test("output that names no package stays as it is", () => {
  const error = new Error("pip cannot be started (ENOENT)");
  expect(explained(error)).toBe(error);
});

test.each([
  [
    '(HTTP code 500) server error - Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host ',
    "the engine does not reach its registry",
  ],
  [
    '(HTTP code 500) server error - Get "https://r/v2/": x509: certificate signed by unknown authority',
    "the engine does not trust its registry's certificate",
  ],
  [
    "(HTTP code 404) no such image - manifest for debian:nope not found: manifest unknown",
    "its registry has no such image",
  ],
  [
    "(HTTP code 404) unexpected - pull access denied for x, repository does not exist or may require 'docker login'",
    "its registry has no such image, or asks for a login (docker login)",
  ],
  ["(HTTP code 500) server error - something\nelse", "something else"],
])("a pull that failed with %j is one clause", (message, clause) =>
  expect(pullFailure(message)).toBe(clause),
);

test("the last line of the set-up speaks of what is there", () => {
  expect(nextStep({ code: false, desktopProject: undefined })).not.toContain("Claude");
  expect(nextStep({ code: true, desktopProject: undefined })).toMatch(/^Open Claude Code/);
  expect(nextStep({ code: false, desktopProject: "/home/u/Cloche" })).toMatch(/^Restart Claude Desktop/);
});
