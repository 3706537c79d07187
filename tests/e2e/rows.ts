// One row for each sandbox: the same tests run in both. A row is left out only where its sandbox cannot be had here and
// CLOCHE_TEST_REQUIRE does not ask for it.
import { describe, test } from "vitest";
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";
import { availability, required } from "../sandboxes/required.ts";

const rows = await availability();

/** `tests` for each sandbox, told which one. */
export function eachSandbox(title: string, tests: (kind: SandboxKind) => void): void {
  for (const { kind, available, reason } of rows)
    describeOrSkip(`${title}, ${kind}`, available ? undefined : reason, () => tests(kind));
}

/** `tests` once, in whichever sandbox there is: for what does not depend on it. */
export function anySandbox(title: string, tests: (kind: SandboxKind) => void): void {
  const found = rows.find(({ available }) => available);
  const reason = rows.map((row) => row.reason).join(" ");
  describeOrSkip(title, found ? undefined : reason, () => tests(found!.kind));
}

/** `tests` under `title` unless `missing` says what they lack; a lack of what `name` requires is a failure. */
export function needing(name: string, title: string, missing: string | undefined, tests: () => void): void {
  if (missing === undefined || !required.includes(name)) describeOrSkip(title, missing, tests);
  else
    test(`${title}: required by CLOCHE_TEST_REQUIRE`, () => {
      throw new Error(missing);
    });
}

function describeOrSkip(title: string, missing: string | undefined, tests: () => void): void {
  if (missing === undefined) describe(title, tests);
  else describe.skip(`${title} (skipped: ${missing})`, tests);
}
