import { execFileSync } from "node:child_process";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { failure, makePlace, type Place, SECRET } from "./fixture.ts";

describe("access", () => {
  let place: Place;
  beforeAll(async () => {
    place = await makePlace({ deny: ["*.private"], denyOrigin: "/home/u/.config/cloche/config.json" });
    await place.write("project/data/sales.csv");
    await place.write("project/data/Costs 2024.csv");
    await place.write("project/deep/er/unique_table.parquet");
    await place.write("project/.env", SECRET);
    await place.write("project/notes.private", SECRET);
    await place.write("root/shared.csv");
    await place.write("root/own-state/cloche.sqlite", SECRET);
    await place.write("outside/salary.csv", SECRET);
    await place.write("home/.ssh/id_rsa", SECRET);
    await place.write("home/table.csv");
    await symlink("../../root/shared.csv", join(place.project, "data/to-root.csv"));
    await symlink("../../outside/salary.csv", join(place.project, "data/to-outside.csv"));
    await symlink("../outside", join(place.project, "outdir"));
    await symlink("../.env", join(place.project, "data/innocent.csv"));
    await symlink("nowhere", join(place.project, "dangling.csv"));
    await symlink("loop", join(place.project, "loop"));
    await symlink("/proc/self/environ", join(place.project, "environ.csv"));
    await symlink(place.project, join(place.top, "by-link"));
  });
  afterAll(() => place[Symbol.asyncDispose]());

  const locate = (path: string) => place.access.locate(path);
  const problem = (path: string) => failure(locate(path));

  it.each([
    ["data/sales.csv", "project/data/sales.csv"],
    ["./data/../data//sales.csv", "project/data/sales.csv"],
    ["data/to-root.csv", "root/shared.csv"],
  ])("finds %s in the project", async (written, real) => {
    expect(await locate(written)).toEqual({ kind: "file", real: join(place.top, real) });
  });

  it("finds absolute paths, those of a root, and a project spelled through a link", async () => {
    expect(await locate(join(place.root, "shared.csv"))).toMatchObject({ kind: "file" });
    expect(await locate(place.root)).toMatchObject({ kind: "directory" });
    expect(await locate(join(place.top, "by-link/data/sales.csv"))).toEqual({
      kind: "file",
      real: join(place.project, "data/sales.csv"),
    });
  });

  it.each([
    "../outside/salary.csv",
    "data/to-outside.csv",
    "outdir/salary.csv",
    "outdir",
    "..",
    "/",
    "/etc/passwd",
    "~/table.csv",
  ])("refuses %s and says what may be read", async (path) => {
    const said = await problem(path);
    expect(said).toMatch(/^load.refused: .*outside of what may be loaded/);
    expect(said).toContain(`the project directory ${place.project} and the roots ${place.root}`);
    expect(said).toContain("`roots` in config.json");
  });

  it("answers alike for what exists outside and what does not", async () => {
    const [there, absent] = [await problem("../outside/salary.csv"), await problem("../outside/absent.csv")];
    expect(absent).toBe(there.replace("salary", "absent"));
    expect(await problem("outdir/absent.csv")).toMatch(/outside of what may be loaded/);
  });

  it("says so where there are no further roots", async () => {
    await using alone = await makePlace({ roots: [] });
    expect(await failure(alone.access.locate("/etc/hostname"))).toContain("no further roots are configured");
  });

  it.each([
    [".env", "environment files"],
    [".ENV", "environment files"],
    ["data/innocent.csv", "environment files"],
    ["~/.ssh/id_rsa", "keys"],
    ["~/.ssh/absent", "keys"],
    ["notes.private", "*.private"],
    ["/proc/self/environ", "operating system"],
    ["/dev/stdin", "operating system"],
    ["/dev/zero", "operating system"],
  ])("refuses %s, naming the rule", async (path, rule) => {
    const said = await problem(path);
    expect(said).toMatch(/^load.refused: /);
    expect(said).toContain(rule);
  });

  it("refuses Cloche's own state inside of a root", async () => {
    expect(await problem(join(place.root, "own-state/cloche.sqlite"))).toContain("Cloche's own directories");
  });

  it("does not follow a link into /proc, even where the root is everything", async () => {
    expect(await problem("environ.csv")).toMatch(/^load.refused: /);
    await using wide = await makePlace({ roots: ["/"] });
    await symlink("/proc/self/environ", join(wide.project, "environ.csv"));
    expect(await failure(wide.access.locate("environ.csv"))).toContain("operating system");
    expect(await failure(wide.access.locate("/proc/self/cwd/package.json"))).toContain("operating system");
    expect(await wide.access.locate("/etc/hostname")).toMatchObject({ kind: "file" });
  });

  it.each([
    ["data/sale.csv", "data/sales.csv"],
    ["data/SALES.CSV", "data/sales.csv"],
    ["data/slaes.csv", "data/sales.csv"],
    ["data/sales.tsv", "data/sales.csv"],
    ["data/costs.csv", "data/Costs 2024.csv"],
    ["dta/sales.csv", "data"],
    ["unique_table.parquet", "deep/er/unique_table.parquet"],
    ["data/unique_table.parquet", "deep/er/unique_table.parquet"],
  ])("suggests for %s the near %s", async (written, near) => {
    const said = await problem(written);
    expect(said).toMatch(/^load.not_found: /);
    expect(said).toContain(`Did you mean ${near}`);
  });

  it("never suggests what may not be loaded", async () => {
    for (const path of [".emv", "notes.privat", "env"]) {
      const said = await problem(path);
      expect(said).not.toMatch(/notes\.private\b|mean \.env/);
    }
  });

  it("says what there is where nothing is near", async () => {
    expect(await problem("data/zzzzzzzzzzzzzzzz")).toContain(
      "data holds Costs 2024.csv, innocent.csv, sales.csv, …",
    );
  });

  it.each(["https://example.com/a.csv", "http://x/y", "s3://bucket/key", "HTTPS://x", "postgres://u@h/db"])(
    "refuses the URL %s and says what to do instead",
    async (url) => {
      expect(await problem(url)).toMatch(
        /^load.refused: .* is a URL, and the sandbox has no network. Download it on the host into the project directory/,
      );
    },
  );

  it("refuses file:// with the plain path as the alternative", async () => {
    expect(await problem("file:///etc/passwd")).toContain("without file://");
  });

  it.each([
    ["", "empty"],
    ["  ", "empty"],
    ["a\0b", "NUL"],
    ["x".repeat(300), "longer than the system allows"],
    ["x/".repeat(3000), "longer than the system allows"],
    ["dangling.csv", "leads nowhere"],
    ["loop", "in a circle"],
    ["loop/a", "in a circle"],
    ["data/sales.csv/x", "there is no"],
  ])("answers %j with a sentence", async (path, words) => {
    const said = await problem(path);
    expect(said).toMatch(/^(input.invalid|load.refused|load.not_found): /);
    expect(said).toContain(words);
    expect(said.length).toBeLessThan(1000);
  });

  it("refuses FIFOs, sockets and devices by what they are, without opening them", async () => {
    execFileSync("mkfifo", [join(place.project, "pipe.csv")]);
    const server = createServer().listen(join(place.project, "s.csv"));
    await new Promise((resolve) => server.once("listening", resolve));
    expect(await problem("pipe.csv")).toContain("it is a FIFO");
    expect(await problem("s.csv")).toContain("it is a socket");
    server.close();
    await rm(join(place.project, "pipe.csv"));
  });

  it.skipIf(process.getuid?.() !== 0)(
    "refuses a device node in the project (needs root to make one)",
    async () => {
      execFileSync("mknod", [join(place.project, "disk.csv"), "c", "1", "5"]);
      expect(await problem("disk.csv")).toContain("it is a device");
      await rm(join(place.project, "disk.csv"));
    },
  );

  it("takes a pattern, but a file of that very name first", async () => {
    expect(await locate("data/*.csv")).toEqual({
      kind: "pattern",
      base: join(place.project, "data"),
      pattern: "*.csv",
    });
    await writeFile(join(place.project, "data/[1]*.csv"), "x");
    expect(await locate("data/[1]*.csv")).toMatchObject({ kind: "file" });
    await rm(join(place.project, "data/[1]*.csv"));
  });

  it.each(["../*/salary.csv", "/*/passwd", "outdir/*.csv", "../outside/*", "~/.ssh/*", "/proc/*/environ"])(
    "does not let the pattern %s start outside",
    async (pattern) => {
      expect(await problem(pattern)).toMatch(/^load.refused: /);
    },
  );

  it("keeps two roots apart that begin alike", async () => {
    await mkdir(`${place.root}-private`);
    await writeFile(`${place.root}-private/a.csv`, SECRET);
    expect(await problem(`${place.root}-private/a.csv`)).toContain("outside of what may be loaded");
  });

  it("names the person's own pattern that denies a file, and where it stands", async () => {
    expect(await problem("notes.private")).toBe(
      "load.refused: notes.private cannot be loaded: it is denied by the pattern *.private of `deny` in /home/u/.config/cloche/config.json. The person set that pattern: ask them if the file is needed.",
    );
  });
});
