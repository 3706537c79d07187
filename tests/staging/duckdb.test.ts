import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { failure, makePlace } from "./fixture.ts";

const HEADER = Buffer.concat([Buffer.alloc(8, 7), Buffer.from("DUCK"), Buffer.alloc(4084)]);
const python = spawnSync("python3", ["-c", "import fcntl"]).status === 0;

// The lock that DuckDB takes: fcntl, exclusive, the whole file.
const LOCK = `
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX if sys.argv[2] == "write" else fcntl.LOCK_SH)
print("locked", flush=True)
time.sleep(60)
`;

describe("a DuckDB file", () => {
  it("at rest is staged", async () => {
    await using place = await makePlace();
    await place.write("project/d.duckdb", HEADER);
    expect((await place.stage("d.duckdb")).request.sources[0]?.size).toBe(4096);
  });

  it.skipIf(process.platform !== "linux" || !python)(
    "that a program has open for writing is refused, naming the program (needs /proc/locks and python3)",
    async () => {
      await using place = await makePlace();
      const path = await place.write("project/d.duckdb", HEADER);
      for (const [manner, expected] of [
        [
          "write",
          /^load.refused: d.duckdb cannot be loaded: process \d+ \(python3?[^)]*\) has the DuckDB database open for writing/,
        ],
        ["read", /^it did not fail$/],
      ] as const) {
        const holder = spawn("python3", ["-c", LOCK, path, manner], { stdio: ["ignore", "pipe", "inherit"] });
        const gone = once(holder, "close");
        await once(holder.stdout, "data");
        const said = await failure(place.stage("d.duckdb"));
        holder.kill("SIGKILL");
        await gone;
        expect(said).toMatch(expected);
      }
    },
  );

  it("with changes that are not in it yet is refused, naming the log", async () => {
    await using place = await makePlace();
    const path = await place.write("project/d.duckdb", HEADER);
    await writeFile(`${path}.wal`, "changes");
    expect(await failure(place.stage("d.duckdb"))).toMatch(
      /part of the DuckDB database is still in .*d\.duckdb\.wal\. Open it once/,
    );
    await rm(`${path}.wal`);
    expect(await failure(place.stage("d.duckdb"))).toBe("it did not fail");
  });
});
