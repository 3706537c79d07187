// One server and its record: cells, outputs, images, and what happens to a record that cannot be used.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ClocheError } from "../../src/shared/errors.ts";
import { type Lease, Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";
import { storeError } from "../../src/snapshots/store-errors.ts";

/** A private mount needs user namespaces, or root. */
const canMount = spawnSync("unshare", ["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;

let directory: string;
let path: string;
let owners: Owners;
let lease: Lease;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cloche-store-"));
  path = join(directory, "cloche.sqlite");
  mkdirSync(join(directory, "owners"));
  owners = new Owners(join(directory, "owners"));
  lease = owners.lease();
});

afterEach(() => {
  lease[Symbol.dispose]();
  rmSync(directory, { recursive: true, force: true });
});

const open = () => new SqliteStore(path, owners, lease.token);

function failure(work: () => unknown): ClocheError {
  try {
    work();
  } catch (error) {
    return error as ClocheError;
  }
  throw new Error("nothing was thrown");
}

describe("sessions", () => {
  test("asking again gives the same session, and another name another", () => {
    using store = open();
    const { session } = store.claim("main", lease.token);
    expect(store.claim("main", lease.token)).toMatchObject({
      session: { id: session.id },
      displaced: false,
      inherited: false,
    });
    expect(store.claim("other", lease.token).session.id).not.toBe(session.id);
  });

  test("a released session is free for the next server and keeps its cells", () => {
    using store = open();
    const { session } = store.claim("main", lease.token);
    store.beginCell(session.id, "exec", "1");
    store.release(session.id, lease.token);
    using other = owners.lease();
    expect(store.claim("main", other.token)).toMatchObject({
      session: { id: session.id, nextCell: 2, hadState: true },
      displaced: false,
      inherited: false,
    });
  });

  test("a server cannot release what another holds", () => {
    using store = open();
    const { session } = store.claim("main", lease.token);
    store.release(session.id, "0".repeat(32));
    expect(store.sessions()[0]?.holder).toBe(lease.token);
  });

  test("a server that was displaced gets its own session again for either name", () => {
    using store = open();
    using other = owners.lease();
    store.claim("main", lease.token);
    const displaced = store.claim("main", other.token).session;
    expect(displaced.name).toBe("main-2");
    expect(store.claim("main-2", other.token)).toMatchObject({
      session: { id: displaced.id },
      displaced: false,
    });
    store.release(store.claim("main", lease.token).session.id, lease.token);
    expect(store.claim("main", other.token).session.id).toBe(displaced.id);
  });

  test("the stand-in for a name of full length is no longer than a name may be", () => {
    using store = open();
    using other = owners.lease();
    const name = "n".repeat(40);
    store.claim(name, lease.token);
    expect(store.claim(name, other.token).session.name).toBe(`${"n".repeat(38)}-2`);
  });

  test("a token that is no token belongs to nobody", () => {
    using store = open();
    for (const token of ["", "../../etc/passwd", "zz", "0".repeat(32)])
      expect(store.isAlive(token)).toBe(false);
    expect(store.isAlive(lease.token)).toBe(true);
  });
});

describe("cells", () => {
  test("a cell is on record before it runs, with its output and images in order after", async () => {
    using store = open();
    const { id } = store.claim("main", lease.token).session;
    const cell = store.beginCell(id, "load", "load data.csv");
    expect(store.cell(id, cell)).toMatchObject({
      status: "running",
      kind: "load",
      duration: null,
      output: "",
      dropped: 0,
    });
    store.saveOutput(id, cell, "half", 0);
    expect(store.cell(id, cell)).toMatchObject({ status: "running", output: "half" });
    const images = [
      { mime: "image/png", data: Buffer.from([1, 0, 2]), at: 4 },
      { mime: "image/jpeg", data: Buffer.alloc(300_000, 7), at: 0 },
    ];
    const end = {
      status: "error",
      duration: 12.5,
      output: "häll\u0000o 🌱",
      error: "ValueError: no",
      dropped: 77,
    } as const;
    await store.endCell(id, cell, { ...end, images });
    expect(store.cell(id, cell)).toMatchObject(end);
    expect(store.images(id, cell)).toEqual(images);
    expect(store.cell(id, 99)).toBeUndefined();
    expect(store.images(id, 99)).toEqual([]);
  });

  test("numbers go on after a fresh kernel, and cells left running are lost", async () => {
    using store = open();
    const { id } = store.claim("main", lease.token).session;
    expect(store.lastCell(id)).toBe(0);
    const ok = { status: "ok", duration: 1, output: "", error: null, dropped: 0, images: [] } as const;
    await store.endCell(id, store.beginCell(id, "exec", "1"), { ...ok, images: [] });
    store.beginCell(id, "exec", "while True: pass");
    const lost = store.markEmpty(id);
    expect(lost).toMatchObject([{ cell: 2, code: "while True: pass", status: "lost" }]);
    expect(store.markEmpty(id)).toEqual([]);
    expect(store.cell(id, 1)?.status).toBe("ok");
    expect(store.cell(id, 2)?.status).toBe("lost");
    expect(store.sessions()[0]?.hadState).toBe(false);
    expect(store.beginCell(id, "exec", "2")).toBe(3);
    expect(store.sessions()[0]?.hadState).toBe(true);
  });

  test("everything is there again when the record is opened anew", () => {
    const first = open();
    const { id } = first.claim("main", lease.token).session;
    const cell = first.beginCell(id, "exec", "x = 1");
    first.saveOutput(id, cell, "kept", 0);
    first[Symbol.dispose]();
    using again = open();
    expect(again.notice).toBeUndefined();
    expect(again.cell(id, cell)).toMatchObject({ code: "x = 1", output: "kept" });
  });

  test("a cell of a session that is not on record is refused with a sentence", () => {
    using store = open();
    expect(failure(() => store.beginCell("nobody", "exec", "1"))).toMatchObject({ code: "store.damaged" });
  });
});

describe("files", () => {
  test("record and locks are the person's alone", () => {
    using store = open();
    store.claim("main", lease.token);
    for (const file of readdirSync(directory).filter(
      (name) => name.startsWith("cloche.sqlite") || name.endsWith(".lock"),
    ))
      expect([file, statSync(join(directory, file)).mode & 0o777]).toEqual([file, 0o600]);
    const [lock] = readdirSync(join(directory, "owners"));
    expect(statSync(join(directory, "owners", lock!)).mode & 0o777).toBe(0o600);
  });

  test("a record that others could read is closed to them", () => {
    open()[Symbol.dispose]();
    chmodSync(path, 0o644);
    using _ = open();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test.each([
    [
      "text",
      Buffer.from("this is no database, but long enough to be taken for one at first sight ".repeat(20)),
    ],
    ["zeros", Buffer.alloc(8192)],
  ])("a file of %s is set aside, and a new record serves", (_, bytes) => {
    writeFileSync(path, bytes);
    using store = open();
    expect(store.notice).toMatch(/damaged .* set aside as .*cloche\.sqlite\.damaged-.* earlier sessions/);
    const aside = /set aside as (\S+)/.exec(store.notice!)![1]!;
    expect(readFileSync(aside)).toEqual(bytes);
    expect(store.claim("main", lease.token).session.name).toBe("main");
  });

  test("an empty file becomes a record", () => {
    writeFileSync(path, "");
    using store = open();
    expect(store.notice).toBeUndefined();
    expect(store.sessions()).toEqual([]);
  });

  test("a record with a table missing is set aside", () => {
    open()[Symbol.dispose]();
    const database = new Database(path);
    database.exec("DROP TABLE image");
    database.close();
    using store = open();
    expect(store.notice).toContain("lacks image");
  });

  test("another program's database is set aside, not written to", () => {
    const database = new Database(path);
    database.exec("CREATE TABLE theirs (x)");
    database.close();
    using store = open();
    expect(store.notice).toContain("another program's database");
  });

  test("a record of a newer Cloche is refused and left as it is", () => {
    open()[Symbol.dispose]();
    const database = new Database(path);
    database.pragma("user_version = 9");
    database.close();
    const refused = failure(open);
    expect(refused).toMatchObject({ code: "store.newer" });
    expect(refused.sentence).toMatch(/newer Cloche .*Update Cloche/);
    expect(existsSync(path)).toBe(true);
  });

  test("a directory in the record's place gets a sentence", () => {
    mkdirSync(path);
    expect(failure(open)).toMatchObject({ code: "store.readonly" });
  });
});

describe("failures", () => {
  test.skipIf(!canMount)(
    "a full disk is store.full, loses nothing, and writing goes on once there is space",
    () => {
      const script = `mount -t tmpfs -o size=3m none "$1" && exec "$2" "$3" "$1"`;
      const fill = join(import.meta.dirname, "fill-disk.ts");
      const run = spawnSync("unshare", ["-rm", "sh", "-c", script, "sh", directory, process.execPath, fill], {
        encoding: "utf8",
      });
      expect(run.stderr).toBe("");
      const { written, refused, kept, after } = JSON.parse(run.stdout);
      expect(written).toBeGreaterThan(10);
      expect(refused.code).toBe("store.full");
      expect(refused.sentence).toMatch(/the disk is full .*Free disk space/);
      expect(kept).toBe(written);
      expect(after).toBeGreaterThan(written);
    },
  );

  test.each([
    ["SQLITE_FULL", "store.full"],
    ["ENOSPC", "store.full"],
    ["EDQUOT", "store.full"],
    ["SQLITE_IOERR_SHMSIZE", "store.full"],
    ["SQLITE_IOERR_LOCK", "store.readonly"],
    ["SQLITE_IOERR_CHECKRESERVEDLOCK", "store.readonly"],
    ["SQLITE_IOERR_WRITE", "store.damaged"],
    ["SQLITE_READONLY_DIRECTORY", "store.readonly"],
    ["EROFS", "store.readonly"],
    ["SQLITE_BUSY_SNAPSHOT", "store.busy"],
    ["SQLITE_CORRUPT_INDEX", "store.damaged"],
    ["SQLITE_CONSTRAINT", "internal"],
  ])("%s is %s", (code, expected) => {
    expect(storeError(Object.assign(new Error("x"), { code }), "/p")).toMatchObject({ code: expected });
  });
});
