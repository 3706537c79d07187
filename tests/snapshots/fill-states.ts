// Fills the small disk it is given with states until the store refuses, to the last byte, then cleans up and goes on.
// Says what it saw as JSON.
import { closeSync, existsSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { ClocheError } from "../../src/shared/errors.ts";
import { bytes, Project } from "./states.ts";

const [directory = ""] = process.argv.slice(2);
let project = new Project(directory);
const main = project.session();
const ballastBefore = existsSync(join(directory, "ballast"));
let states = 0;
let refused: { code: string; sentence: string } | undefined;
while (!refused)
  try {
    await project.cell(main, { small: `${states}`.repeat(5_000), big: bytes(4_000_000, `${states}`) });
    states += 1;
  } catch (error) {
    const { code, sentence } = error as ClocheError;
    refused = { code, sentence };
  }
await project.states.space.settled();
// Whatever room is left, somebody else takes.
if (!existsSync(join(directory, "ballast"))) throw new Error("the ballast went for nothing");
const other = openSync(join(directory, "other"), "w");
try {
  for (;;) writeSync(other, Buffer.alloc(4_096));
} catch {
  closeSync(other);
}
const head = project.states.head(main)!;
const { lost: lostWhenFull } = await project.states.plan(head, "/dev/shm/cloche-fill-small");
const { states: kept } = project.store.history(main);
project[Symbol.dispose]();
rmSync(join(directory, "ballast"));
project = new Project(directory);
await project.states.space.prune(
  main,
  kept.map(({ id }) => id),
);
await project.states.space.collect([main]);
const { bavail, bsize } = statfsSync(directory);
const lostAfter = (await project.restore(project.states.head(main)!)).lost;
const next = await project.cell(main, { big: bytes(4_000_000, "next") });
process.stdout.write(
  JSON.stringify({
    ballastBefore,
    states,
    refused,
    lostWhenFull: Object.keys(lostWhenFull),
    freeAfter: bavail * bsize,
    lostAfter,
    goesOn: (await project.restore(next)).lost,
  }),
);
rmSync("/dev/shm/cloche-fill-small", { force: true });
project[Symbol.dispose]();
