// Fills the small disk it is given until the store refuses, then frees space and goes on. Says what it saw as JSON.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ClocheError } from "../../src/shared/errors.ts";
import { Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";

const [directory = ""] = process.argv.slice(2);
mkdirSync(join(directory, "owners"));
writeFileSync(join(directory, "ballast"), Buffer.alloc(1_000_000, 1));

const owners = new Owners(join(directory, "owners"));
using lease = owners.lease();
using store = new SqliteStore(join(directory, "cloche.sqlite"), owners, lease.token);
const { id } = store.claim("main", lease.token).session;

function writeCell(): number {
  const cell = store.beginCell(id, "exec", "x = 1");
  store.saveOutput(id, cell, "x".repeat(20_000), 0);
  return cell;
}

let written = 0;
let refused: { code: string; sentence: string } | undefined;
while (!refused) {
  try {
    written = writeCell();
  } catch (error) {
    const { code, sentence } = error as ClocheError;
    refused = { code, sentence };
  }
}
let kept = 0;
for (let cell = 1; cell <= written; cell += 1) if (store.cell(id, cell)?.output.length === 20_000) kept += 1;
rmSync(join(directory, "ballast"));
process.stdout.write(JSON.stringify({ written, refused, kept, after: writeCell() }));
