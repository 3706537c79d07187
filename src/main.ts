#!/usr/bin/env node
// Sees that this Node is new enough before anything is loaded that needs it, and hands argv to the program.
import { readFileSync } from "node:fs";

const { engines } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const [major = 0, minor = 0] = numbers(engines.node);
const [ownMajor = 0, ownMinor = 0] = numbers(process.versions.node);

if (ownMajor > major || (ownMajor === major && ownMinor >= minor)) {
  const { run } = await import("./cli/program.ts");
  await run();
} else {
  process.stderr.write(
    `cloche: this is Node ${process.versions.node} (${process.execPath}), and Cloche needs ${major}.${minor} or newer. Run ./setup.sh in the clone: it brings one, and a launcher that uses it.\n`,
  );
  process.exit(1);
}

function numbers(version: string): number[] {
  return version.match(/\d+/g)?.map(Number) ?? [];
}
