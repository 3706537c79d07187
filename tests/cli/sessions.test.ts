// `cloche sessions` as a person runs it: the real program, on a store with real states in it.
import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { expendable } from "../../src/cli/sessions-prune.ts";
import { type Paths, prepareState } from "../../src/config/paths.ts";
import { type Lease, Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";
import { bytes, covariable } from "../snapshots/states.ts";
import { type Home, makeHome, runCloche } from "./home.ts";

const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);
const LARGE = 200_000;
let home: Home;
let base: string;
let paths: Paths;

beforeEach(() => {
  home = makeHome();
  ({ base, paths } = home);
  prepareState(paths, process.getuid!());
});

afterEach(() => rmSync(base, { recursive: true, force: true }));

const cloche = (...args: string[]) => runCloche(home, ["sessions", ...args]);

/** A server that runs cells, each leaving one variable with the bytes of its code. */
class Server implements Disposable {
  readonly lease: Lease;
  readonly store: SqliteStore;
  readonly session: string;
  readonly #states;

  constructor(name = "main") {
    const owners = new Owners(paths.owners);
    this.lease = owners.lease();
    this.store = new SqliteStore(paths.database, owners, this.lease.token);
    this.#states = this.store.checkpoints({ packs: paths.packs });
    this.session = this.store.claim(name, this.lease.token).session.id;
  }

  async cell(
    code: string,
    { output = "", error = null as string | null, image = false } = {},
  ): Promise<void> {
    const cell = this.store.beginCell(this.session, code.startsWith("load ") ? "load" : "exec", code);
    const images = image ? [{ mime: "image/png", data: PNG, at: 3 }] : [];
    const status = error ? "error" : "ok";
    void this.store.endCell(this.session, cell, { status, duration: 12, output, error, dropped: 0, images });
    const group = covariable(code.split(" ")[0]!, bytes(LARGE, code));
    this.#states.addChunk(this.session, group.header[0]!, Buffer.from(`header of ${group.names[0]}`));
    this.#states.addChunk(this.session, group.buffers[0]![0]!, bytes(LARGE, code));
    const manifest = { groups: [group], members: [group.digest], lost: {}, tokens: {}, versions: {} };
    await this.#states.commit(this.session, cell, manifest, {});
  }

  goTo(cell: number): void {
    this.#states.moveHead(this.session, this.#states.after(this.session, cell)!);
  }

  [Symbol.dispose](): void {
    this.store[Symbol.dispose]();
    this.lease[Symbol.dispose]();
  }
}

/** Cells 1 and 2, then 3 and 4 that were undone, then 5. */
async function branched(): Promise<void> {
  using server = new Server();
  await server.cell("a = 1");
  await server.cell("b = 2", { output: "one\ntwo\n", image: true });
  await server.cell("c = 3");
  await server.cell("d = 4", { output: "SECRET OF THE LEFT BRANCH" });
  server.goTo(2);
  await server.cell("e = 5", { error: "Traceback (most recent call last):\nValueError: no" });
}

const packBytes = () =>
  readdirSync(paths.packs)
    .filter((file) => file.endsWith(".pack"))
    .reduce((sum, file) => sum + statSync(join(paths.packs, file)).size, 0);

describe("list and show", () => {
  test("a session is listed with its branches and size, with and without the word", async () => {
    await branched();
    const line = /^ {2}main {2}5 cells {2}2 branches {2}9\d\d(\.\d)? KiB {2}just now {2}free$/m;
    expect(cloche().out).toMatch(line);
    expect(cloche("list").out).toMatch(line);
    expect(JSON.parse(cloche("list", "--json").out)).toMatchObject([{ name: "main", branches: 2 }]);
  });

  test("a session is shown as the tree of its branches", async () => {
    await branched();
    const { out } = cloche("show", "main");
    expect(out.split("\n")[0]).toMatch(
      /^Session main: 5 cells, in the state after cell 5\. 9\d\d(\.\d)? KiB of states/,
    );
    const shown = out
      .split("\n")
      .slice(1, -1)
      .map((line) => line.replace(/ {2,}/g, "  "));
    expect(shown).toEqual([
      "  1  ok  12 ms  kept  a = 1  touched a",
      "  2  ok  12 ms  kept  b = 2  touched b",
      "  | left after cell 2:",
      "  |  3  ok  12 ms  kept  c = 3  touched c",
      "  |  4  ok  12 ms  kept  d = 4  touched d",
      "  5 <- here  error  12 ms  kept  e = 5  touched e",
    ]);
  });

  test("a session that is not there gets a sentence", () => {
    expect(cloche("show", "nobody")).toMatchObject({ code: 2, out: "" });
    expect(cloche("show", "nobody").err).toMatch(/has no session nobody\. `cloche sessions` lists them/);
  });
});

describe("prune", () => {
  test("what would go is said, and nothing changes", async () => {
    await branched();
    const before = packBytes();
    expect(cloche("prune", "--dry-run").out).toBe(
      "main: 2 states and 2 cells of branches that were left would go.\nNothing was changed.\n",
    );
    expect(packBytes()).toBe(before);
    expect(cloche("show", "main").out).toContain("left after cell 2");
  });

  test("branches that were left go with outputs and bytes; the current one stays, and says so", async () => {
    await branched();
    const { out, code } = cloche("prune", "main");
    expect(code).toBe(0);
    expect(out).toMatch(
      /^main: gave up 2 states and 2 cells of branches that were left\.\nFreed [\d.]+ \w+; [\d.]+ \w+ are taken now\.\n$/,
    );
    expect(cloche("show", "main").out).not.toContain("left after");
    expect(readFileSync(paths.database).includes("SECRET OF THE LEFT BRANCH")).toBe(false);
    using server = new Server();
    for (const cell of [1, 2, 5]) expect(server.store.cell(server.session, cell)).toBeDefined();
    expect(cloche("prune").out).toContain("main: nothing to give up.");
  });

  test("with --keep, old states of the current branch go too, and their packs are written anew", async () => {
    await branched();
    expect(cloche("prune", "--keep", "1").out).toContain("gave up 4 states and 2 cells");
    expect(packBytes()).toBe(LARGE);
  });

  test("beside a running server it frees what it can, and the server goes on", async () => {
    using server = new Server();
    await server.cell("a = 1");
    await server.cell("b = 2");
    server.goTo(1);
    await server.cell("c = 3");
    expect(cloche("prune").out).toContain("main: gave up 1 state and 1 cell");
    await server.cell("d = 4");
    expect(cloche("show", "main").out).toContain("4 <- here");
  });

  test.each([
    [["--keep", "some"], /--keep: expected a whole number, not "some"/],
    [["--older-than", "soon"], /--older-than: expected an age such as 30d/],
  ])("%j is answered with what is expected", async (args, expected) => {
    await branched();
    expect(cloche("prune", ...args)).toMatchObject({ code: 2, err: expect.stringMatching(expected) });
  });

  test("by age, the head stays however old it is, and what is young stays", () => {
    const cell = (number: number, startedAt: number, from = number - 1) =>
      ({ cell: number, base: from, startedAt, status: "ok" }) as never;
    const history = {
      cells: [cell(1, 10), cell(2, 20), cell(3, 30, 1)],
      states: [
        { id: 1, cell: 1, at: 10, isHead: false },
        { id: 2, cell: 2, at: 20, isHead: false },
        { id: 3, cell: 3, at: 30, isHead: true },
      ],
      at: 3,
      bytes: { states: 0, outputs: 0 },
    };
    expect(expendable(history, { before: 100 })).toEqual({ states: [1, 2], cells: [2] });
    expect(expendable(history, { before: 15 })).toEqual({ states: [1], cells: [] });
    expect(expendable(history, { before: 100, keep: 2 })).toEqual({ states: [2], cells: [2] });
    expect(expendable(history, {})).toEqual({ states: [2], cells: [2] });
  });
});

describe("check", () => {
  test("a whole store is said to be whole, a damaged pack is found and counted", async () => {
    await branched();
    expect(cloche("check")).toMatchObject({ code: 0, out: "All that is kept is whole.\n" });
    const [pack] = readdirSync(paths.packs).filter((file) => file.endsWith(".pack"));
    truncateSync(join(paths.packs, pack!), 2 * LARGE);
    expect(cloche("check")).toMatchObject({
      code: 1,
      out: "4 pieces of states are damaged: variables in them come back as placeholders that say so.\n",
    });
  });
});

describe("export", () => {
  test("a notebook holds the current branch with outputs in order, images and errors", async () => {
    await branched();
    const path = join(base, "main.ipynb");
    expect(cloche("export", "main", "-o", path).out).toBe(`Wrote 3 cells to ${path}.\n`);
    const notebook = JSON.parse(readFileSync(path, "utf8"));
    expect(notebook).toMatchObject({ nbformat: 4, nbformat_minor: 5 });
    const { cells } = notebook as {
      cells: { source: string[]; execution_count: number; outputs: object[] }[];
    };
    expect(cells.map(({ execution_count }) => execution_count)).toEqual([1, 2, 5]);
    expect(cells.map(({ source }) => source.join(""))).toEqual(["a = 1", "b = 2", "e = 5"]);
    expect(cells[1]!.outputs).toEqual([
      { output_type: "stream", name: "stdout", text: ["one"] },
      { output_type: "display_data", data: { "image/png": PNG.toString("base64") }, metadata: {} },
      { output_type: "stream", name: "stdout", text: ["\n", "two\n"] },
    ]);
    expect(cells[2]!.outputs).toEqual([
      {
        output_type: "error",
        ename: "ValueError",
        evalue: "no",
        traceback: ["Traceback (most recent call last):", "ValueError: no"],
      },
    ]);
  });

  test("a Python file holds the current branch between markers, loads as comments", async () => {
    {
      using server = new Server();
      await server.cell("load data.csv as df");
      await server.cell("df.head()\n");
    }
    expect(cloche("export", "main", "--format", "py").out).toBe(
      "# %% [cell 1]\n# load data.csv as df\n\n# %% [cell 2]\ndf.head()\n",
    );
  });

  test("a file that is there is not overwritten, and another format is refused", async () => {
    await branched();
    const path = join(base, "there.py");
    expect(cloche("export", "main", "--format", "py", "-o", path).code).toBe(0);
    expect(cloche("export", "main", "--format", "py", "-o", path).err).toContain("exists already");
    expect(cloche("export", "main", "--format", "pdf")).toMatchObject({ code: 2 });
    expect(existsSync(join(home.project, "main.ipynb"))).toBe(false);
  });
});
