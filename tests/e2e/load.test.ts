// load over the real line: what comes in, how it is described, and what is refused with a sentence.
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import type { Server } from "./server.ts";

const SALES = "region,sold,price\nnorth,3,1.5\nsouth,4,\nnorth,5,2.5\n";

eachSandbox("load", (kind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind);
    place.write("sales.csv", SALES);
    place.write("data/2024.csv", "a,b\n1,2\n");
    place.write("data/2025.csv", "a,b\n3,4\n5,6\n");
    place.write("rows.jsonl", '{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n');
    place.write("tree.json", '{"name":"root","children":[{"name":"leaf"}]}');
    place.write("notes.md", "# Title\n\nSome words.\n");
    place.write("packed.csv.gz", gzipSync(SALES));
    place.write(".env", "TOKEN=secret");
    const db = new Database(join(place.project, "shop.sqlite"));
    db.exec("create table orders(id integer, amount real); insert into orders values (1, 9.5), (2, 0.5)");
    db.close();
    server = await place.start();
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());
  const load = (args: Record<string, unknown>) => server.call("load", args);
  const shown = async (code: string) => (await server.exec(code)).text;

  test("a CSV becomes a DataFrame, and the answer is a profile and not the content", async () => {
    const answer = await load({ path: "sales.csv" });
    expect(answer.isError).toBe(false);
    expect(answer.cell).toBeGreaterThan(0);
    expect(answer.text).toMatch(/3 rows/);
    for (const column of ["region", "sold", "price"]) expect(answer.text).toContain(column);
    expect(answer.text).toMatch(/3 … 5/);
    expect(await shown("sales.groupby('region').sold.sum().to_dict()")).toBe("{'north': 8, 'south': 4}");
    expect(await shown("int(sales.price.isna().sum())")).toBe("1");
  });

  test("jsonl, json, text, gzip, SQLite, a directory and a glob come in under their names", async () => {
    await load({ path: "rows.jsonl" });
    expect(await shown("rows.a.sum() + len(rows)")).toMatch(/5/);
    await load({ path: "tree.json" });
    expect(await shown("tree['children'][0]['name']")).toBe("'leaf'");
    await load({ path: "notes.md", name: "words" });
    expect(await shown("words.splitlines()[0]")).toBe("'# Title'");
    await load({ path: "packed.csv.gz" });
    expect(await shown("packed.sold.sum()")).toMatch(/12/);
    await load({ path: "shop.sqlite" });
    expect(await shown("type(shop).__name__ != 'bytes' and 'orders' in list(shop)")).toBe("True");
    await load({ path: "data/*.csv", name: "years" });
    expect(await shown("len(years)")).toMatch(/^[23]$/);
    await load({ path: "data", name: "folder" });
    expect(await shown("sorted(folder)")).toBe("['2024.csv', '2025.csv']");
  });

  test("text needs no file", async () => {
    const answer = await load({ text: "one\ntwo\nthree", name: "lines" });
    expect(answer.isError).toBe(false);
    expect(await shown("lines.split('\\n')")).toBe("['one', 'two', 'three']");
  });

  test("what is staged can be read under /data and not changed", async () => {
    await load({ path: "sales.csv" });
    const text = await shown(
      [
        "import glob, os",
        "path = [p for p in glob.glob('/data/**', recursive=True) if p.endswith('.csv')][0]",
        "try:",
        "    open(path, 'a')",
        "except OSError as error:",
        "    print(type(error).__name__)",
      ].join("\n"),
    );
    expect(text).toMatch(/^(PermissionError|OSError)$/);
  });

  test("outside of the roots nothing is read, and the answer says which roots there are", async () => {
    symlinkSync("/etc/hostname", join(place.project, "link.txt"));
    for (const path of ["/etc/hostname", "../home/x", "link.txt"]) {
      const answer = await load({ path });
      expect(answer.isError, path).toBe(true);
      expect(answer.text).toContain("outside of what may be loaded");
      expect(answer.text).toContain(place.project);
    }
  });

  test("keys and environment files are never read", async () => {
    const answer = await load({ path: ".env" });
    expect(answer).toMatchObject({ isError: true });
    expect(answer.text).toMatch(/secrets.*never loaded/);
  });

  test("a URL is refused with the alternative", async () => {
    const answer = await load({ path: "https://example.org/data.csv" });
    expect(answer).toMatchObject({ isError: true });
    expect(answer.text).toMatch(/is a URL.*Download it on the host/s);
  });

  test("a missing file suggests near names", async () => {
    const answer = await load({ path: "sale.csv" });
    expect(answer).toMatchObject({ isError: true });
    expect(answer.text).toMatch(/there is no .*sale\.csv/);
    expect(answer.text).toContain("sales.csv");
  });

  test("an unreadable format says what was tried", async () => {
    place.write("broken.parquet", Buffer.from("PAR1 this is no parquet file"));
    const answer = await load({ path: "broken.parquet" });
    expect(answer).toMatchObject({ isError: true });
    expect(answer.status).toMatch(/^\[cell \d+: error/);
    expect(answer.text).toMatch(/parquet/i);
    expect(answer.text).not.toMatch(/Traceback|site-packages/);
  });

  test("an unknown argument is named, and one source is taken and not two", async () => {
    const wrong = await load({ path: "sales.csv", format: "nonsense" });
    expect(wrong).toMatchObject({ isError: true });
    const { tools } = await server.client.listTools();
    const { properties = {} } = tools.find(({ name }) => name === "load")!.inputSchema;
    const { description = "" } = properties.format as { description?: string };
    const named = /^(.*);/.exec(description)![1]!.split(/, | or /);
    expect(named.length).toBeGreaterThan(10);
    const known = /one of: (.*)\./.exec(wrong.text)![1]!.split(", ");
    expect(named.filter((name) => !known.includes(name))).toEqual([]);
    expect((await load({ path: "sales.csv", delimiter: ";" })).text).toContain("delimiter");
    expect((await load({ path: "sales.csv", text: "x" })).text).toMatch(/exactly one of/);
    expect((await load({})).text).toMatch(/exactly one of/);
  });
});
