import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, copyFile, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { failure, makePlace, type Place } from "./fixture.ts";

const SUM = 2_000 * 100;

async function makeBank(place: Place, name = "bank.db"): Promise<string> {
  const path = join(place.project, name);
  const database = new Database(path);
  database.exec("create table accounts (id integer primary key, balance integer, padding blob)");
  database.exec(
    "insert into accounts select value, 100, zeroblob(500) from (with recursive s(value) as (select 0 union all select value + 1 from s where value < 1999) select value from s)",
  );
  database.close();
  return path;
}

/** Runs the writer until the disposal; with "die" it is gone at once. */
async function writer(path: string, journal: string, manner: string): Promise<AsyncDisposable> {
  const script = fileURLToPath(new URL("./sqlite-writer.ts", import.meta.url));
  const child = spawn(process.execPath, [script, path, journal, manner], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const gone = once(child, "close");
  if (manner === "die") await gone;
  else await once(child.stdout, "data");
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await gone;
    },
  };
}

async function audit(place: Place, path: string) {
  const copy = join(place.top, "audit.db");
  await copyFile(join(place.staging, path), copy);
  await chmod(copy, 0o600);
  const database = new Database(copy, { readonly: true });
  const [{ sum, count }] = database
    .prepare("select sum(balance) sum, count(*) count from accounts")
    .all() as [{ sum: number; count: number }];
  const [check] = database.pragma("integrity_check", { simple: false }) as [{ integrity_check: string }];
  database.close();
  return { sum, count, check: check.integrity_check, versions: [...(await readFile(copy)).subarray(18, 20)] };
}
const sound = { sum: SUM, count: 2000, check: "ok", versions: [1, 1] };

describe("a SQLite file", () => {
  it.each(["delete", "wal"])(
    "that another program writes without pause (%s) is never torn",
    async (journal) => {
      await using place = await makePlace();
      const path = await makeBank(place);
      await using _writer = await writer(path, journal, "busy");
      const before = (await readdir(place.project)).filter((name) => !name.endsWith("-journal"));
      for (let i = 0; i < 4; i++) {
        const { request } = await place.stage("bank.db");
        expect(await audit(place, request.sources[0]!.path)).toEqual(sound);
        expect(request.sources[0]?.size).toBe(
          (await stat(join(place.staging, request.sources[0]!.path))).size,
        );
      }
      expect((await readdir(place.project)).filter((name) => !name.endsWith("-journal"))).toEqual(before);
    },
  );

  it("holds the rows that are only in the log so far, and is copied anew when they grow", async () => {
    await using place = await makePlace();
    const path = await makeBank(place);
    const database = new Database(path);
    database.pragma("journal_mode = wal");
    for (const expected of [SUM + 1, SUM + 2]) {
      database.exec("update accounts set balance = balance + 1 where id = 7");
      const { request } = await place.stage("bank.db");
      expect((await audit(place, request.sources[0]!.path)).sum).toBe(expected);
    }
    database.close();
  });

  it.each(["delete", "wal"])(
    "that nobody has open (%s) is copied without leaving anything beside it",
    async (journal) => {
      await using place = await makePlace();
      const database = new Database(await makeBank(place));
      database.pragma(`journal_mode = ${journal}`);
      database.close();
      const { request } = await place.stage("bank.db");
      expect(await audit(place, request.sources[0]!.path)).toEqual(sound);
      expect(await readdir(place.project)).toEqual(["bank.db"]);
      expect(await readdir(join(place.staging, "data"))).toEqual(["bank.db"]);
      expect((await stat(join(place.staging, "data/bank.db"))).mode & 0o777).toBe(0o444);
      expect((await place.stage("bank.db")).request.sources[0]?.path).toBe("/data/bank.db");
    },
  );

  it("whose writer died leaving a log is read with the log, and the log is left as it is", async () => {
    await using place = await makePlace();
    const path = await makeBank(place);
    await using _writer = await writer(path, "wal", "die");
    await copyFile(path, join(place.project, "moved.db"));
    await copyFile(`${path}-wal`, join(place.project, "moved.db-wal"));
    expect((await stat(`${path}-wal`)).size).toBeGreaterThan(0);
    const before = await readdir(place.project);
    for (const name of ["bank.db", "moved.db"]) {
      const { request } = await place.stage(name);
      expect(await audit(place, request.sources[0]!.path)).toEqual(sound);
    }
    expect(await readdir(place.project)).toEqual(before);
    expect((await readdir(join(place.staging, "data"))).sort()).toEqual(["bank.db", "moved.db"]);
  });

  it("left in the middle of a transaction is refused with what to do, and not touched", async () => {
    await using place = await makePlace();
    const path = await makeBank(place);
    await using _writer = await writer(path, "delete", "die");
    const before = await readFile(path);
    expect((await stat(`${path}-journal`)).size).toBeGreaterThan(0);
    const said = await failure(place.stage("bank.db"));
    expect(said).toMatch(
      /^load.refused: bank.db cannot be loaded: a program died in the middle of a transaction/,
    );
    expect((await readFile(path)).equals(before)).toBe(true);
    expect((await stat(`${path}-journal`)).size).toBeGreaterThan(0);
    expect(await readdir(join(place.staging, "data"))).toEqual([]);
  });

  it("that stays locked is refused within the deadline of a call", { timeout: 60_000 }, async () => {
    await using place = await makePlace();
    const path = await makeBank(place);
    await using _writer = await writer(path, "delete", "locked");
    const started = performance.now();
    expect(await failure(place.stage("bank.db"))).toContain("another program keeps the database locked");
    expect(performance.now() - started).toBeLessThan(30_000);
  });

  it("that is damaged or no database at all is staged byte for byte, for the kernel to judge", async () => {
    await using place = await makePlace();
    const path = await makeBank(place, "whole.db");
    const bytes = await readFile(path);
    await writeFile(join(place.project, "cut.db"), bytes.subarray(0, 5000));
    await writeFile(join(place.project, "short.db"), "SQLite format 3\0");
    await writeFile(
      join(place.project, "noise.db"),
      Buffer.concat([bytes.subarray(0, 16), Buffer.alloc(9000, 0xfe)]),
    );
    for (const name of ["cut.db", "short.db", "noise.db"]) {
      const { request } = await place.stage(name);
      const staged = await place.staged(request.sources[0]!.path);
      expect(staged.equals(await readFile(join(place.project, name)))).toBe(true);
    }
  });

  it("whose log is a link to elsewhere does not bring that in", async () => {
    await using place = await makePlace();
    const path = await makeBank(place);
    const database = new Database(path);
    database.pragma("journal_mode = wal");
    database.close();
    const secret = await place.write("outside/secret", Buffer.alloc(100_000, "S"));
    await symlink(secret, `${path}-wal`);
    const { request } = await place.stage("bank.db");
    expect(await audit(place, request.sources[0]!.path)).toEqual(sound);
  });

  it("is stopped in the middle of its backup when the load is aborted", async () => {
    await using place = await makePlace();
    const path = await makeBank(place);
    const database = new Database(path);
    database.exec("create table bulk (x blob)");
    for (let i = 0; i < 30; i++) database.exec("insert into bulk values (randomblob(10000000))");
    database.close();
    const stop = new AbortController();
    const work = place.area.stage({ path: "bank.db" }, stop.signal);
    setTimeout(() => stop.abort(new Error("stopped")), 120);
    await expect(work).rejects.toThrow("stopped");
    expect(await readdir(join(place.staging, "data"))).toEqual([]);
  });
});
