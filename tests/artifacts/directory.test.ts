import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DirectoryStore } from "../../src/artifacts/directory.ts";
import type { ClocheError } from "../../src/shared/errors.ts";

const never = new AbortController().signal;
let top: string;
let project: string;
let store: DirectoryStore;
const out = (name: string) => join(project, "cloche-out", name);

beforeEach(async () => {
  top = await realpath(await mkdtemp(join(tmpdir(), "cloche-artifacts-")));
  project = join(top, "project");
  await mkdir(project);
  store = new DirectoryStore({ project, output: "cloche-out" });
});
afterEach(() => rm(top, { recursive: true, force: true }));

async function* body(...pieces: (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) yield Buffer.from(piece);
}

async function failure(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "it did not fail",
    (error: ClocheError) =>
      error.sentence ? `${error.code}: ${error.sentence}` : `foreign: ${error.message}`,
  );
}

describe("publishing to the output directory", () => {
  it("makes the directory, writes the exact bytes and names the absolute path", async () => {
    const artifact = await store.put("report.csv", body("a,b\n", "", "1,2\n"), never);
    expect(artifact).toEqual({ path: out("report.csv"), bytes: 8 });
    expect(await readFile(out("report.csv"), "utf8")).toBe("a,b\n1,2\n");
    expect((await stat(out("report.csv"))).mode & 0o777).toBe(0o644 & ~process.umask());
    expect(await readdir(join(project, "cloche-out"))).toEqual(["report.csv"]);
    expect((await stat(out("report.csv"))).nlink).toBe(1);
  });

  it("takes an empty file, a name in any script, and one of 200 bytes", async () => {
    for (const name of ["empty", "売上 2024 (final).csv", "é".repeat(100)])
      expect(await store.put(name, body(), never)).toEqual({ path: out(name), bytes: 0 });
  });

  it("never replaces what is there, be it a file, directory or broken link, and names a free name", async () => {
    await mkdir(join(project, "cloche-out"));
    await writeFile(out("a.tar.gz"), "mine");
    await writeFile(out("a.tar-2.gz"), "mine too");
    await mkdir(out("d"));
    await symlink(join(top, "elsewhere"), out("l.csv"));
    expect(await failure(store.put("a.tar.gz", body("x"), never))).toBe(
      `publish.exists: ${out("a.tar.gz")} exists, and publish never replaces a file. Publish it under another name; "a.tar-3.gz" is free.`,
    );
    expect(await failure(store.put("d", body("x"), never))).toContain('"d-2" is free');
    expect(await failure(store.put("l.csv", body("x"), never))).toContain('"l-2.csv" is free');
    expect(await readFile(out("a.tar.gz"), "utf8")).toBe("mine");
    expect(existsSync(join(top, "elsewhere"))).toBe(false);
    expect((await readdir(join(project, "cloche-out"))).sort()).toEqual([
      "a.tar-2.gz",
      "a.tar.gz",
      "d",
      "l.csv",
    ]);
  });

  it("gives one of two that publish the same name at once the name, and refuses the other", async () => {
    const slow = async function* () {
      yield Buffer.from("one");
      await sleep(20);
      yield Buffer.from("!");
    };
    const said = await Promise.all([1, 2, 3, 4].map(() => failure(store.put("same.csv", slow(), never))));
    expect(said.filter((text) => text === "it did not fail")).toHaveLength(1);
    expect(said.filter((text) => text.startsWith("publish.exists"))).toHaveLength(3);
    expect(await readdir(join(project, "cloche-out"))).toEqual(["same.csv"]);
    expect(await readFile(out("same.csv"), "utf8")).toBe("one!");
  });

  it.each([
    ["", "empty"],
    ["a/b.csv", "slash"],
    ["../a.csv", "slash"],
    ["/etc/cron.d/x", "slash"],
    ["a\\b", "slash"],
    ["..", "dot"],
    [".", "dot"],
    [".bashrc", "dot"],
    ["-rf", 'starts with "-"'],
    ["~x", 'starts with "~"'],
    [" x", 'starts with " "'],
    ["x.", "ends with"],
    ["x ", "ends with"],
    ["a\nb", "control"],
    ["a\0b", "control"],
    ["a\u202egpj.exe", "control or invisible"],
    ["\ud800.csv", "control or invisible"],
    ["é".repeat(101), "200 bytes"],
    ["conftest.py", "obey"],
    ["CLAUDE.md", "obey"],
    ["Claude.MD", "obey"],
    ["ＣＬＡＵＤＥ.md", "obey"],
    ["AGENTS.md", "obey"],
    ["Makefile", "obey"],
    ["package.json", "obey"],
    ["x.desktop", "obey"],
    ["NUL.txt", "obey"],
    ["desktop.ini", "obey"],
  ])("refuses the name %j", async (name, words) => {
    const said = await failure(store.put(name, body("x"), never));
    expect(said).toMatch(/^publish.refused: .*Give a plain file name/);
    expect(said).toContain(words);
    expect(said).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}]/u);
    expect(existsSync(join(project, "cloche-out"))).toBe(false);
  });

  it.each([
    "analysis.py",
    "setup.csv",
    "claude.csv",
    "makefile.txt",
    "package.jsonl",
    "console.log",
    "desktop.png",
    "a b.csv",
    "com.csv",
  ])("takes the ordinary name %s", async (name) => {
    expect(await store.put(name, body("x"), never)).toMatchObject({ bytes: 1 });
  });

  it("refuses an output directory that is a link, a file, or cannot be written", async () => {
    const elsewhere = join(top, "elsewhere");
    await mkdir(elsewhere);
    await symlink(elsewhere, join(project, "cloche-out"));
    expect(await failure(store.put("a.csv", body("x"), never))).toMatch(
      /^publish.refused: .*it is a link or a file/,
    );
    expect(await readdir(elsewhere)).toEqual([]);
    await rm(join(project, "cloche-out"));
    await writeFile(join(project, "cloche-out"), "");
    expect(await failure(store.put("a.csv", body("x"), never))).toMatch(/it is a link or a file/);
    await rm(project, { recursive: true });
    expect(await failure(store.put("a.csv", body("x"), never))).toMatch(
      /^publish.refused: .*project directory is gone/,
    );
  });

  it("refuses when a directory above was turned into a link", async () => {
    await rename(project, join(top, "moved"));
    await mkdir(join(top, "moved/cloche-out"));
    await symlink(join(top, "moved"), project);
    expect(await failure(store.put("a.csv", body("x"), never))).toContain("its real place is elsewhere");
    expect(await readdir(join(top, "moved/cloche-out"))).toEqual([]);
  });

  it("writes to the directory it opened when a link takes its place meanwhile", async () => {
    const elsewhere = join(top, "elsewhere");
    await mkdir(elsewhere);
    const swapping = async function* () {
      yield Buffer.from("first");
      await rename(join(project, "cloche-out"), join(project, "aside"));
      await symlink(elsewhere, join(project, "cloche-out"));
      yield Buffer.from("second");
    };
    await failure(store.put("a.csv", swapping(), never));
    expect(await readdir(elsewhere)).toEqual([]);
  });

  it("does not write through a link that takes the name meanwhile", async () => {
    const victim = join(top, "victim");
    await writeFile(victim, "precious");
    for (const trap of [symlink, link]) {
      const trapping = async function* () {
        yield Buffer.from("first");
        await trap(victim, out("a.csv"));
        yield Buffer.from("second");
      };
      expect(await failure(store.put("a.csv", trapping(), never))).toMatch(/^publish.exists/);
      expect(await readFile(victim, "utf8")).toBe("precious");
      await rm(out("a.csv"));
    }
    expect(await readdir(join(project, "cloche-out"))).toEqual([]);
  });

  it("leaves nothing of a file that failed, was too large or was aborted", async () => {
    const broken = async function* () {
      yield Buffer.from("half");
      throw new Error("the wire broke");
    };
    expect(await failure(store.put("a.csv", broken(), never))).toBe("foreign: the wire broke");
    const small = new DirectoryStore({ project, output: "cloche-out", maxBytes: 5 });
    expect(await failure(small.put("a.csv", body("123", "456"), never))).toMatch(
      /^publish.refused: the file is larger than 5 bytes/,
    );
    expect(await small.put("b.csv", body("12345"), never)).toMatchObject({ bytes: 5 });
    let ended = false;
    const endless = async function* () {
      try {
        for (;;) {
          yield Buffer.alloc(1000);
          await sleep(1);
        }
      } finally {
        ended = true;
      }
    };
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("cell ended")), 30);
    expect(await failure(store.put("c.csv", endless(), stop.signal))).toBe("foreign: cell ended");
    await sleep(20);
    expect(ended).toBe(true);
    expect(await readdir(join(project, "cloche-out"))).toEqual(["b.csv"]);
  });

  it("answers an abort at once while the sender is silent", async () => {
    const silent: AsyncIterable<Buffer> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }),
    };
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("cell ended")), 20);
    expect(await failure(store.put("a.csv", silent, stop.signal))).toBe("foreign: cell ended");
    expect(await readdir(join(project, "cloche-out"))).toEqual([]);
  });

  it("removes what a server that died left of a file, but not one under way", async () => {
    await mkdir(join(project, "cloche-out"));
    const [old, fresh] = [out(".cloche-0123456789abcdef.partial"), out(".cloche-fedcba9876543210.partial")];
    await writeFile(old, "x");
    await writeFile(fresh, "x");
    await utimes(old, 1, 1);
    await store.put("a.csv", body("x"), never);
    expect((await readdir(join(project, "cloche-out"))).sort()).toEqual([
      ".cloche-fedcba9876543210.partial",
      "a.csv",
    ]);
  });

  it("works where the file system has no hard links", async (context) => {
    // vfat knows neither; mounting one takes root and mkfs.vfat.
    const image = join(top, "vfat.img");
    const mounted = join(top, "project");
    try {
      execFileSync("truncate", ["-s", "8M", image]);
      execFileSync("mkfs.vfat", [image], { stdio: "ignore" });
      execFileSync("mount", ["-o", "loop", image, mounted], { stdio: "ignore" });
    } catch {
      return context.skip("no vfat can be mounted here");
    }
    try {
      expect(await store.put("a.csv", body("bytes"), never)).toEqual({ path: out("a.csv"), bytes: 5 });
      expect(await failure(store.put("a.csv", body("other"), never))).toMatch(/^publish.exists/);
      expect(await readFile(out("a.csv"), "utf8")).toBe("bytes");
    } finally {
      execFileSync("umount", [mounted]);
    }
  });

  it.skipIf(process.getuid?.() === 0)(
    "says so where the directory cannot be written (not as root)",
    async () => {
      await mkdir(join(project, "cloche-out"));
      await chmod(join(project, "cloche-out"), 0o555);
      expect(await failure(store.put("a.csv", body("x"), never))).toContain("the system denies writing");
    },
  );

  it("asks for nothing outside of its directory", async () => {
    await store.put("a.csv", body("x"), never);
    expect(await readdir(project)).toEqual(["cloche-out"]);
    expect((await lstat(join(project, "cloche-out"))).isDirectory()).toBe(true);
  });
});
