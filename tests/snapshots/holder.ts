// A server as far as the store can tell: its own process with a lease, doing what stdin's lines say and answering each
// with one line of JSON. Run by the tests, which may kill it at any moment.
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";

const [directory = ""] = process.argv.slice(2);
const owners = new Owners(join(directory, "owners"));
const lease = owners.lease();
const store = new SqliteStore(join(directory, "cloche.sqlite"), owners, lease.token);
const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);

say({ token: lease.token });
for await (const line of createInterface({ input: process.stdin })) {
  const [verb, name = "main", count = "1"] = line.split(" ");
  if (verb === "claim") say(store.claim(name, lease.token));
  if (verb === "cells") {
    const { session } = store.claim(name, lease.token);
    const numbers = [];
    for (let n = 0; n < Number(count); n += 1) numbers.push(store.beginCell(session.id, "exec", `n = ${n}`));
    say({ numbers });
  }
  if (verb === "flood") {
    const { session } = store.claim(name, lease.token);
    for (let n = 0; ; n += 1) {
      const cell = store.beginCell(session.id, "exec", `n = ${n}`);
      store.saveOutput(session.id, cell, "x".repeat(20_000), 0);
      const output = "x".repeat(20_000);
      void store.endCell(session.id, cell, {
        status: "ok",
        duration: 1,
        output,
        error: null,
        dropped: 0,
        images: [],
      });
      say({ cell });
    }
  }
}
