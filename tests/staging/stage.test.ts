import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, closeSync, openSync, statSync, writeSync } from "node:fs";
import { chmod, link, mkdir, readdir, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { StagingArea } from "../../src/staging/stage.ts";
import { failure, makePlace, type Place, SECRET } from "./fixture.ts";

const never = new AbortController().signal;

describe("staging a file", () => {
  it("copies the exact bytes, read-only, under a readable name, and names a variable", async () => {
    await using place = await makePlace();
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 31) % 256));
    await place.write("project/data/2024 sales.csv", bytes);
    const { request, notes } = await place.stage("data/2024 sales.csv");
    expect(request).toEqual({
      name: "sales_2024",
      sources: [{ path: "/data/2024_sales.csv", label: "data/2024 sales.csv", size: 70_000 }],
      directory: false,
    });
    expect(notes).toEqual([]);
    expect((await place.staged("/data/2024_sales.csv")).equals(bytes)).toBe(true);
    expect((await stat(join(place.staging, "data/2024_sales.csv"))).mode & 0o777).toBe(0o444);
    expect((await stat(join(place.staging, "data"))).mode & 0o777).toBe(0o755);
  });

  it("copies a file of more than 16 MB by the system, with progress, exactly", async () => {
    await using place = await makePlace();
    const bytes = Buffer.alloc(40_000_003, "0123456789abcdef,\n");
    await place.write("project/big.csv", bytes);
    const seen: number[] = [];
    const staged = await place.area.stage({ path: "big.csv" }, never, (progress) => {
      expect(progress.total).toBe(bytes.length);
      seen.push(progress.bytes);
    });
    expect((await place.staged(staged.request.sources[0]!.path)).equals(bytes)).toBe(true);
    expect(Math.max(0, ...seen)).toBeLessThanOrEqual(bytes.length);
  });

  it("stages an empty file", async () => {
    await using place = await makePlace();
    await place.write("project/empty.csv", "");
    const { request } = await place.stage("empty.csv");
    expect(request.sources[0]?.size).toBe(0);
    expect(await place.staged("/data/empty.csv")).toHaveLength(0);
  });

  it("copies an unchanged file once in a session, and a changed one again beside it", async () => {
    await using place = await makePlace();
    const path = await place.write("project/a.csv", "one");
    const first = await place.stage("a.csv");
    const again = await place.stage("./a.csv");
    expect(again.request.sources[0]?.path).toBe(first.request.sources[0]?.path);
    await writeFile(path, "two");
    const changed = await place.stage("a.csv");
    expect(changed.request.sources[0]?.path).toBe("/data/a-2.csv");
    expect((await place.staged("/data/a.csv")).toString()).toBe("one");
    expect((await place.staged("/data/a-2.csv")).toString()).toBe("two");
  });

  it("sees a change of the same size whose time was put back", async () => {
    await using place = await makePlace();
    const path = await place.write("project/a.csv", "one");
    const { mtime } = statSync(path);
    await place.stage("a.csv");
    await writeFile(path, "two");
    await utimes(path, mtime, mtime);
    const { request } = await place.stage("a.csv");
    expect((await place.staged(request.sources[0]!.path)).toString()).toBe("two");
  });

  it("takes the caller's name and format, and refuses a name before it looks for the file", async () => {
    await using place = await makePlace();
    await place.write("project/a.csv");
    const { request } = await place.area.stage({ path: "a.csv", name: "frame", format: "tsv" }, never);
    expect(request).toMatchObject({ name: "frame", format: "tsv" });
    expect(await failure(place.area.stage({ path: "absent", name: "a b" }, never))).toMatch(/^input.invalid/);
  });

  it.each([
    [{}, "none of them"],
    [{ path: "a", text: "b" }, "`path` and `text`"],
    [{ paths: [] }, "1 to 1000 paths"],
    [{ paths: Array(1001).fill("a") }, "1 to 1000 paths"],
  ])("refuses %j with a sentence", async (request, words) => {
    await using place = await makePlace();
    const said = await failure(place.area.stage(request, never));
    expect(said).toMatch(/^input.invalid/);
    expect(said).toContain(words);
  });

  it("stages names of every ugly kind under clean ones", async () => {
    await using place = await makePlace();
    const names = [
      "a\nb.csv",
      "\u202egnp.csv",
      `${"x".repeat(251)}.csv`,
      "-rf",
      "a'b\"c$(id).csv",
      " lead.csv",
      "%s%n.csv",
      "é.csv",
      "e\u0301.csv",
      "A.csv",
      "a.csv",
    ];
    for (const [i, name] of names.entries()) await place.write(`project/${name}`, `content ${i}`);
    const labels = new Set<string>();
    for (const [i, name] of names.entries()) {
      const { request } = await place.stage(name);
      const [source] = request.sources;
      expect(source?.path).toMatch(/^\/data\/[\p{L}\p{N}_-][\p{L}\p{N}._-]*$/u);
      expect(source?.label).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      expect((await place.staged(source!.path)).toString()).toBe(`content ${i}`);
      labels.add(source!.path.toLowerCase());
    }
    expect(labels.size).toBe(names.length);
  });
});

describe("staging text", () => {
  it("writes it under the variable's name", async () => {
    await using place = await makePlace();
    const { request } = await place.area.stage({ text: "a,b\n1,é", name: "notes", format: "csv" }, never);
    expect(request).toEqual({
      name: "notes",
      format: "csv",
      sources: [{ path: "/data/notes.txt", label: "text", size: 8 }],
      directory: false,
    });
    expect((await place.staged("/data/notes.txt")).toString()).toBe("a,b\n1,é");
    expect((await place.area.stage({ text: "x" }, never)).request.name).toBe("text");
  });

  it("takes at most 5 MB", async () => {
    await using place = await makePlace();
    expect(await failure(place.area.stage({ text: "x".repeat(5_000_001) }, never))).toMatch(
      /^load.too_large: `text` is 5.0 MB/,
    );
    expect((await place.area.stage({ text: "x".repeat(5_000_000) }, never)).request.sources[0]?.size).toBe(
      5_000_000,
    );
  });
});

describe("staging many files", () => {
  it("takes a directory with labels relative to it, sorted, and says what was left out", async () => {
    await using place = await makePlace();
    await place.write("project/d/b.csv");
    await place.write("project/d/a.csv");
    await place.write("project/d/sub/a.csv");
    await place.write("project/d/.hidden.csv", SECRET);
    await place.write("project/d/.git/config", SECRET);
    await place.write("project/d/server.pem", SECRET);
    await place.write("outside/o.csv", SECRET);
    await symlink("../../outside/o.csv", join(place.project, "d/o.csv"));
    await symlink("../../outside", join(place.project, "d/odir"));
    await symlink("b.csv", join(place.project, "d/z-link.csv"));
    await symlink("gone", join(place.project, "d/dangling"));
    const { request, notes } = await place.stage("d");
    expect(request.directory).toBe(true);
    expect(request.name).toBe("d");
    expect(request.sources.map(({ label }) => label)).toEqual(["a.csv", "b.csv", "sub/a.csv"]);
    expect(request.sources.map(({ path }) => path)).toEqual(["/data/a.csv", "/data/b.csv", "/data/a-2.csv"]);
    expect(notes.at(-1)).toBe(
      "left out: hidden entries (2), links that lead nowhere (1), links that lead outside or to files that are never loaded (2), entries that are never loaded (keys, credentials and the like) (1)",
    );
    expect(JSON.stringify(await contents(place.staging))).not.toContain(SECRET);
  });

  it("counts what the person's own patterns keep out, each by its pattern", async () => {
    await using place = await makePlace({ deny: ["*.bak", "drafts/**"], denyOrigin: "config.json" });
    for (const name of ["a.csv", "a.bak", "b.bak", "drafts/c.csv"]) await place.write(`project/d/${name}`);
    const { notes } = await place.stage("d");
    expect(notes.join()).toContain("entries denied by the pattern *.bak of `deny` in config.json (2)");
    expect(notes.join()).toContain("entries denied by the pattern drafts/** of `deny` in config.json (1)");
  });

  it("takes a glob, sorted, without hidden and denied files", async () => {
    await using place = await makePlace();
    for (const name of ["m_2024.csv", "m_2023.csv", "m_2025.tsv", ".m_2022.csv", "other.csv"])
      await place.write(`project/d/${name}`);
    await place.write("project/d/x/m_2021.csv");
    await place.write("project/d/m_key.pem", SECRET);
    const labels = async (path: string) =>
      (await place.stage(path)).request.sources.map(({ label }) => label);
    expect(await labels("d/m_*.csv")).toEqual(["d/m_2023.csv", "d/m_2024.csv"]);
    expect(await labels("d/m_*.{csv,tsv}")).toEqual(["d/m_2023.csv", "d/m_2024.csv", "d/m_2025.tsv"]);
    expect(await labels("d/**/m_202[14].csv")).toEqual(["d/m_2024.csv", "d/x/m_2021.csv"]);
    expect(await labels("**/m_????.csv")).toEqual(["d/m_2023.csv", "d/m_2024.csv", "d/x/m_2021.csv"]);
    expect((await place.stage("d/m_*")).notes.join()).toMatch(/left out: .*entries that are never loaded/);
    const { request } = await place.stage("d/m_*.csv");
    expect(request).toMatchObject({ name: "m", directory: false });
    expect(await failure(place.stage("d/q*.csv"))).toMatch(/^load.not_found: no file matches d\/q\*\.csv/);
    expect(await failure(place.stage("d/*_key.*"))).toMatch(
      /no file matches d\/\*_key\.\* \(left out: entries that are never/,
    );
  });

  it("takes a list of paths, each file once, in the order given", async () => {
    await using place = await makePlace();
    for (const name of ["sales_b.csv", "sales_a.csv"]) await place.write(`project/${name}`);
    const { request } = await place.area.stage({ paths: ["sales_b.csv", "sales_*.csv"] }, never);
    expect(request.sources.map(({ label }) => label)).toEqual(["sales_b.csv", "sales_a.csv"]);
    expect(request.name).toBe("sales");
  });

  it("keeps apart labels that look alike once they are made printable", async () => {
    await using place = await makePlace();
    await place.write("project/d/a\u202e.csv", "1");
    await place.write("project/d/a\\u{202e}.csv", "2");
    const { request } = await place.stage("d");
    expect(new Set(request.sources.map(({ label }) => label)).size).toBe(2);
  });

  it.skipIf(process.platform !== "linux")(
    "takes names that are no UTF-8 (Linux only: macOS refuses them)",
    async () => {
      await using place = await makePlace();
      const name = Buffer.concat([
        Buffer.from(`${place.project}/d/`),
        Buffer.from([0x61, 0xff, 0x2e, 0x63, 0x73, 0x76]),
      ]);
      await mkdir(join(place.project, "d"));
      await writeFile(name, "latin");
      const { request } = await place.stage("d/*.csv");
      expect(request.sources).toEqual([
        { path: expect.stringMatching(/^\/data\/a_xff\.csv$/), label: "d/a\\xff.csv", size: 5 },
      ]);
      expect((await place.staged(request.sources[0]!.path)).toString()).toBe("latin");
    },
  );

  it("refuses an empty directory, and one with too many files before anything is copied", async () => {
    await using place = await makePlace();
    await mkdir(join(place.project, "empty"));
    expect(await failure(place.stage("empty"))).toMatch(/holds no files to load/);
    for (let i = 0; i < 2001; i++) await place.write(`project/many/${i}`, "");
    expect(await failure(place.stage("many"))).toMatch(/^load.too_large: .* more than 2000 files/);
    expect(await readdir(join(place.staging, "data"))).toEqual([]);
  });

  it.skipIf(process.getuid?.() === 0)(
    "leaves out what the system denies, and refuses it when named (not as root)",
    async () => {
      await using place = await makePlace();
      await place.write("project/d/a.csv");
      await chmod(await place.write("project/d/b.csv"), 0);
      expect((await place.stage("d")).notes.join()).toContain("the system denies permission");
      expect(await failure(place.stage("d/b.csv"))).toContain("the system denies permission");
    },
  );
});

describe("a load that fails leaves nothing", () => {
  it("when it is aborted before, between and within files", async () => {
    await using place = await makePlace();
    expect(await failure(place.area.stage({ text: "x" }, AbortSignal.abort()))).toMatch(/Abort/);
    await place.write("project/d/a.csv");
    await writeFile(join(place.project, "d/b.csv"), "");
    await truncate(join(place.project, "d/b.csv"), 3_000_000_000);
    const stop = new AbortController();
    const started = performance.now();
    const work = place.area.stage({ path: "d" }, stop.signal, ({ bytes }) => {
      if (bytes > 50_000_000) stop.abort(new Error("stopped by the person"));
    });
    await expect(work).rejects.toThrow("stopped by the person");
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(await readdir(join(place.staging, "data"))).toEqual([]);
  });

  it("when the room on the disk or in the session does not suffice, said before anything is copied", async () => {
    await using place = await makePlace({}, { capacity: 1000 });
    await place.write("project/a.csv", "x".repeat(700));
    await place.stage("a.csv");
    await place.write("project/b.csv", "x".repeat(400));
    const said = await failure(place.stage("b.csv"));
    expect(said).toMatch(
      /^load.too_large: the load takes 400 bytes, and 300 bytes of the session's 1.0 kB for loaded files are left/,
    );
    await place.area.clear();
    expect((await place.stage("b.csv")).request.sources).toHaveLength(1);
    const starved = new StagingArea({ directory: place.staging, access: place.access, reserve: 1e18 });
    expect(await failure(starved.stage({ path: "a.csv" }, never))).toMatch(
      /^load.too_large: the load needs 700 bytes on the disk/,
    );
    expect(await readdir(join(place.staging, "data"))).toEqual(["b.csv"]);
  });

  it("when the state directory cannot be written, said by a sentence", async () => {
    await using place = await makePlace();
    await place.write("project/a.csv");
    await writeFile(join(place.staging, "data"), "a file where the directory should be");
    for (const request of [{ path: "a.csv" }, { text: "x" }])
      expect(await failure(place.area.stage(request, never))).toMatch(
        /^load.refused: the file could not be copied into Cloche's state/,
      );
  });

  it("keeps the event loop free while it copies", async () => {
    await using place = await makePlace();
    const path = await place.write("project/big.bin", "");
    await truncate(path, 600_000_000);
    const before = performance.eventLoopUtilization();
    await place.stage("big.bin");
    expect(performance.eventLoopUtilization(before).utilization).toBeLessThan(0.5);
  });
});

describe("a file that does not stand still", () => {
  it("is refused by a sentence when it grows all the while", async () => {
    await using place = await makePlace();
    const path = await place.write("project/log.csv", Buffer.alloc(30_000_000));
    const writer = setInterval(() => appendFileSync(path, "more\n"), 1);
    const said = await failure(place.stage("log.csv"));
    clearInterval(writer);
    expect(said).toMatch(
      /^load.refused: log.csv changed while it was being copied, twice. Load it once its writer/,
    );
    expect(await readdir(join(place.staging, "data"))).toEqual([]);
  });

  it("is taken at the second try when it came to rest", async () => {
    await using place = await makePlace();
    const path = await place.write("project/log.csv", Buffer.alloc(30_000_000, "a"));
    let touched = false;
    const { request } = await place.area.stage({ path: "log.csv" }, never, () => {
      if (!touched) appendFileSync(path, "tail");
      touched = true;
    });
    const bytes = await place.staged(request.sources[0]!.path);
    expect(touched ? bytes.subarray(-4).toString() : "tail").toBe("tail");
    expect(bytes).toHaveLength(request.sources[0]!.size);
    expect(await readdir(join(place.staging, "data"))).toHaveLength(1);
  });

  it("is never staged torn: every copy is one of the writer's versions", async () => {
    await using place = await makePlace();
    const size = 400_000;
    const path = await place.write("project/v.bin", Buffer.alloc(size, 0));
    const file = openSync(path, "r+");
    let version = 0;
    const writer = setInterval(() => {
      version = (version + 1) % 256;
      // Two halves apart: a copy in between would hold both versions.
      writeSync(file, Buffer.alloc(size / 2, version), 0, size / 2, 0);
      setTimeout(() => writeSync(file, Buffer.alloc(size / 2, version), 0, size / 2, size / 2), 30);
    }, 120);
    let taken = 0;
    for (let i = 0; i < 25; i++) {
      await place.area.clear();
      const staged = await place.stage("v.bin").catch(() => undefined);
      if (!staged) continue;
      taken++;
      const bytes = await place.staged(staged.request.sources[0]!.path);
      expect(bytes).toHaveLength(size);
      // The writer rests between the halves too, and a file at rest is a file: so only each half must be whole.
      expect(new Set(bytes.subarray(0, size / 2)).size).toBe(1);
      expect(new Set(bytes.subarray(size / 2)).size).toBe(1);
      await sleep(7);
    }
    clearInterval(writer);
    await sleep(60);
    closeSync(file);
    expect(taken).toBeGreaterThan(0);
  });
});

describe("links swapped while loading", () => {
  it("never let a byte from outside in: a file name that turns into a link and back", async () => {
    await using place = await makePlace();
    await place.write("outside/secret.csv", SECRET);
    await place.write("project/x.csv", "harmless");
    await symlink("../outside/secret.csv", join(place.project, "trap"));
    await attack(place, "x.csv", ["x.csv"]);
  });

  it("never let a byte from outside in: a directory on the way that turns into a link and back", async () => {
    await using place = await makePlace();
    await place.write("outside/t.csv", SECRET);
    await place.write("project/d/t.csv", "harmless");
    await symlink("../outside", join(place.project, "trap"));
    await attack(place, "d", ["d/t.csv", "d/*.csv", "d"]);
  });

  /** Another process swaps `victim` and the link `trap` as fast as it can while `paths` are loaded many times. */
  async function attack(place: Place, victim: string, paths: string[]) {
    const swap = `
      const { renameSync } = require("node:fs");
      for (let swaps = 0; ; swaps++) {
        renameSync("${victim}", "aside");
        renameSync("trap", "${victim}");
        renameSync("${victim}", "trap");
        renameSync("aside", "${victim}");
        if (swaps === 1000) console.log("busy");
      }`;
    const attacker = spawn(process.execPath, ["-e", swap], {
      cwd: place.project,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const gone = once(attacker, "close");
    await once(attacker.stdout, "data");
    const outcomes = new Map<string, number>();
    try {
      for (let i = 0; i < 600; i++) {
        await place.area.clear();
        const said = await failure(place.stage(paths[i % paths.length] as string));
        const kind = said.split(":")[0] as string;
        outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
        expect(JSON.stringify(await contents(place.staging))).not.toContain(SECRET);
      }
    } finally {
      attacker.kill("SIGKILL");
      await gone;
    }
    for (const outcome of outcomes.keys())
      expect(outcome).toMatch(/^(it did not fail|load\.(refused|not_found))$/);
    // Both sides must have had their turns, else nothing was attacked.
    expect(outcomes.size).toBeGreaterThan(1);
  }
});

describe("hard links", () => {
  it("to files that are never loaded are found out where those usually lie", async () => {
    await using place = await makePlace();
    await place.write("home/.ssh/id_ed25519", SECRET);
    await place.write("home/.netrc", SECRET);
    await place.write("project/.env", SECRET);
    await place.write("project/sub/.env.local", SECRET);
    await link(join(place.home, ".ssh/id_ed25519"), join(place.project, "a.csv"));
    await link(join(place.home, ".netrc"), join(place.project, "b.csv"));
    await link(join(place.project, ".env"), join(place.project, "c.csv"));
    await link(join(place.project, "sub/.env.local"), join(place.project, "sub/d.csv"));
    for (const name of ["a.csv", "b.csv", "c.csv", "sub/d.csv"])
      expect(await failure(place.stage(name))).toMatch(/^load.refused: .* hard link/);
  });

  it("between ordinary files are loaded", async () => {
    await using place = await makePlace();
    await place.write("root/cache.csv", "data");
    await link(join(place.root, "cache.csv"), join(place.project, "a.csv"));
    expect((await place.stage("a.csv")).request.sources).toHaveLength(1);
  });
});

async function contents(directory: string): Promise<string[]> {
  const { readFile } = await import("node:fs/promises");
  const found: string[] = [];
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }))
    if (entry.isFile())
      found.push(await readFile(join(entry.parentPath, entry.name), "utf8").catch(() => ""));
  return found;
}
