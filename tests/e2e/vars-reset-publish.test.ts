// vars, reset and publish over the real line.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import type { Server } from "./server.ts";

eachSandbox("vars, reset and publish", (kind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind);
    server = await place.start();
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());

  test("vars lists type, shape, size, preview and the cell that last bound or changed each", async () => {
    const { cell } = await server.exec(
      "import pandas as pd, numpy as np\nframe = pd.DataFrame({'a': range(1000), 'b': 'x'})\ngrid = np.zeros((20, 30))\nname = 'Ada'",
    );
    await server.exec("grid[0, 0] = 1");
    const { text } = await server.call("vars");
    expect(text).toMatch(new RegExp(`^frame: DataFrame 1,000 × 2, .*cell ${cell}: .*a, b`, "m"));
    expect(text).toMatch(new RegExp(`^grid: ndarray 20 × 30, float64, 4\\.8 KB, cell ${cell + 1}`, "m"));
    expect(text).toMatch(new RegExp(`^name: str of 3, .*cell ${cell}: 'Ada'`, "m"));
    expect(text).not.toMatch(/publish/);
  });

  test("vars with a name shows one in detail, in pages that make up the whole", async () => {
    await server.exec("story = ''.join(f'{i:05d};' for i in range(10_000))");
    let text = "";
    for (let offset = 0; ; ) {
      const page = await server.call("vars", { name: "story", offset });
      expect(page.text).toMatch(/^story: str of 60,000/);
      const [body = "", more] = page.text.split("\n").slice(1);
      text += body;
      if (!more) break;
      offset = Number(/offset: (\d+)/.exec(more)![1]);
    }
    expect(text).toBe(Array.from({ length: 10_000 }, (_, i) => `${String(i).padStart(5, "0")};`).join(""));
    const unknown = await server.call("vars", { name: "storey" });
    expect(unknown).toMatchObject({ isError: true });
    expect(unknown.text).toContain("story");
  });

  test('vars with session "*" lists the sessions', async () => {
    await server.exec("1", { session: "side" });
    const { text } = await server.call("vars", { session: "*" });
    expect(text).toMatch(/^main: idle, \d+ cells/m);
    expect(text).toMatch(/^side: idle, 1 cells?/m);
  });

  test("publish copies a file out byte for byte and names its absolute path", async () => {
    const answer = await server.exec(
      "import os\nblob = bytes(range(256)) * 5000\nopen('blob.bin', 'wb').write(blob)\npublish('blob.bin')",
    );
    const path = join(place.project, "cloche-out/blob.bin");
    expect(answer.text).toContain(path);
    expect(readFileSync(path).equals(Buffer.alloc(1_280_000, Buffer.from([...Array(256).keys()])))).toBe(
      true,
    );
    const renamed = await server.exec("publish('blob.bin', name='again.bin').path");
    expect(renamed.text).toContain(join(place.project, "cloche-out/again.bin"));
    expect(
      (await server.exec("(await __import__('cloche').publish_async('blob.bin', 'third.bin')).bytes")).text,
    ).toMatch(/^1280000\n/);
  });

  test("every published file is named below the cell, wherever in it that was", async () => {
    const answer = await server.exec(
      "for i in range(3):\n    open(f'f{i}.txt', 'w').write('x' * i)\n    _ = publish(f'f{i}.txt')\nprint('y' * 5000)\n1 + 1",
      { max_chars: 2_000 },
    );
    expect(answer.text.split("\n").slice(-4)).toEqual([
      "2",
      ...[0, 1, 2].map(
        (i) =>
          `[cloche: Published ${join(place.project, `cloche-out/f${i}.txt`)} (${i} ${i === 1 ? "byte" : "bytes"})]`,
      ),
    ]);
    const last = await server.exec("publish('f2.txt', 'once-only.txt')");
    expect(last.text).toBe(
      `[cloche: Published ${join(place.project, "cloche-out/once-only.txt")} (2 bytes)]`,
    );
    const followed = await server.call("exec", { cell: answer.cell });
    expect(followed.text).toContain("cloche-out/f1.txt (1 byte)");
    const folder = await server.exec("os.mkdir('folder'); publish('folder')");
    expect(folder.text).toContain("folder is a directory");
  });

  test("publish never replaces a file, never writes a dotfile and never sends a link's target", async () => {
    await server.exec("open('once.txt', 'w').write('first'); publish('once.txt')");
    const twice = await server.exec("open('once.txt', 'w').write('second'); publish('once.txt')");
    expect(twice.status).toContain("error");
    expect(twice.text).toMatch(/never replaces a file/);
    expect(twice.text).toContain("once-2.txt");
    expect(readFileSync(join(place.project, "cloche-out/once.txt"), "utf8")).toBe("first");
    for (const name of [".bashrc", "../up.txt", "a/b.txt", ""]) {
      const refused = await server.exec(`publish('once.txt', name=${JSON.stringify(name)})`);
      expect(refused.status, name).toContain("error");
    }
    const linked = await server.exec("os.symlink('once.txt', 'link.txt'); publish('link.txt')");
    expect(linked.status).toContain("error");
    expect(linked.text).toMatch(/link/);
    expect(existsSync(join(place.root, "project/up.txt"))).toBe(false);
    expect(readdirSync(join(place.project, "cloche-out")).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("reset clears variables, files and loaded data, and cell numbers go on", async () => {
    place.write("in.csv", "a\n1\n");
    await server.call("load", { path: "in.csv" });
    const before = await server.exec("kept = 1; open('file.txt', 'w').write('x')");
    const answer = await server.call("reset");
    expect(answer.text).toMatch(/Session main is empty/);
    const after = await server.exec(
      "import os\n[n for n in ('kept', 'in_', 'frame', 'story') if n in globals()], os.listdir('/workspace'), os.listdir('/data')",
    );
    expect(after.text).toBe("([], [], [])");
    expect(after.cell).toBe(before.cell + 1);
    expect((await server.call("exec", { cell: before.cell })).status).toContain("ok");
    expect((await server.exec("callable(publish)")).text).toBe("True");
  });

  test("reset ends what runs", async () => {
    const long = await server.exec("import time\nwhile True: time.sleep(0.01)", { wait_s: 0.5 });
    expect((await server.call("reset")).text).toMatch(
      new RegExp(`Cell ${long.cell}, which was running, was ended`),
    );
    expect((await server.exec("'time' in globals()")).text).toBe("False");
  });
});
