// The real server, which kills processes with SIGKILL, itself unless told otherwise, at the step that a file names.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Armed } from "./mortal.ts";

const directory = process.env.CLOCHE_TEST_STEPS!;
const armed = join(directory, "armed");
let order = "";
let left = 0;

const { run }: typeof import("../../src/cli/program.ts") = await import(
  join(import.meta.dirname, "../../dist/cli/program.js")
);
await run((name) => {
  appendFileSync(join(directory, "steps"), `${name}\n`);
  if (!existsSync(armed)) return;
  const text = readFileSync(armed, "utf8");
  const { step, nth, pids }: Armed = JSON.parse(text);
  if (text !== order) left = nth;
  order = text;
  if (step !== name) return;
  left -= 1;
  if (left === 0) for (const pid of pids ?? [process.pid]) process.kill(pid, "SIGKILL");
});
