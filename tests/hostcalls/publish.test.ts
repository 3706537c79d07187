// publish through the door that a sandbox's calls pass, onto the real disk.
import { mkdtemp, readdir, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DirectoryStore } from "../../src/artifacts/directory.ts";
import { publishCall } from "../../src/hostcalls/publish.ts";
import { DEFAULT_QUOTAS, type HostCallDoor, openDoor } from "../../src/hostcalls/router.ts";
import { silentLog } from "../../src/shared/log.ts";

let project: string;
let door: HostCallDoor;

beforeEach(async () => {
  told.length = 0;
  project = await realpath(await mkdtemp(join(tmpdir(), "cloche-publish-")));
  const store = new DirectoryStore({ project, output: "cloche-out" });
  door = openDoor("main", { calls: [publishCall(store)], ...DEFAULT_QUOTAS, log: silentLog });
});
afterEach(() => rm(project, { recursive: true, force: true }));

async function* body(...pieces: string[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) yield Buffer.from(piece);
}

const told: string[] = [];
const call = (args: unknown, content?: AsyncIterable<Buffer>) =>
  door(
    {
      name: "publish",
      cell: 1,
      args: typeof args === "string" ? args : JSON.stringify(args),
      body: content,
      signal: new AbortController().signal,
    } as Parameters<HostCallDoor>[0],
    (line) => told.push(line),
  );

describe("the host call publish", () => {
  it("answers with the absolute path and the bytes", async () => {
    const path = join(project, "cloche-out/report.csv");
    expect(await call({ name: "report.csv" }, body("a,", "b"))).toEqual({
      ok: true,
      result: { path, bytes: 3 },
    });
    expect(await readFile(path, "utf8")).toBe("a,b");
    expect(told).toEqual([`Published ${path} (3 bytes)`]);
  });

  it("tells the cell by code and sentence when the name is taken", async () => {
    await call({ name: "a.csv" }, body("1"));
    expect(await call({ name: "a.csv" }, body("2"))).toMatchObject({
      ok: false,
      code: "publish.exists",
      message: expect.stringContaining('"a-2.csv" is free'),
    });
  });

  it.each([
    [{ name: "../../x" }, "publish.refused"],
    [{ name: ".env" }, "publish.refused"],
    [{ name: "x".repeat(2000) }, "hostcall.refused"],
    [{}, "hostcall.refused"],
    [{ name: 7 }, "hostcall.refused"],
    [{ name: "a", mode: "w" }, "hostcall.refused"],
    ["not json", "hostcall.refused"],
    [null, "hostcall.refused"],
  ])("refuses %j", async (args, code) => {
    expect(await call(args, body("x"))).toMatchObject({ ok: false, code });
    expect(await readdir(project)).toEqual([]);
    expect(told).toEqual([]);
  });

  it("refuses a call that came without content", async () => {
    expect(await call({ name: "a.csv" })).toMatchObject({ ok: false, code: "publish.refused" });
  });
});
