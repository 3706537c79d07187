// Works on the store in a directory and kills itself at a step: [directory, what to do, step, which time].

import { join } from "node:path";
import { openDatabase } from "../../src/snapshots/database.ts";
import { Project } from "./states.ts";

const [directory = "", work = "", at = "", nth = "1"] = process.argv.slice(2);
let times = 0;
const steps: string[] = [];
const step = (name: string) => {
  steps.push(name);
  if (name === at && ++times === Number(nth)) process.kill(process.pid, "SIGKILL");
};

if (work === "open") openDatabase(join(directory, "cloche.sqlite"), { step });
if (work === "prune") {
  const project = new Project(directory);
  project.store[Symbol.dispose]();
  project.open(step);
  const [session] = project.store.sessions();
  const { states } = project.store.history(session!.id);
  const spare = states.filter(({ isHead }) => !isHead).map(({ id }) => id);
  await project.states.space.prune(session!.id, spare);
  await project.states.space.collect([session!.id]);
}
process.stdout.write(JSON.stringify(steps));
