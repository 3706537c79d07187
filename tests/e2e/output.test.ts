// How much of a cell's output comes back, and when: paging, floods, progress, cells that outlast their call.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import type { Server } from "./server.ts";

const MB = 1_000_000;

eachSandbox("output", (kind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind);
    server = await place.start();
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());
  // A killed session forgets its imports, so every cell brings its own.
  const exec = (code: string, args?: Record<string, unknown>) => server.exec(`import time\n${code}`, args);

  test("a long output shows head and tail, and its pages make up the whole again", async () => {
    const whole = Array.from({ length: 9_000 }, (_, i) => `${i} ${"é".repeat(i % 7)}`).join("\n");
    const answer = await exec("for i in range(9000): print(i, 'é' * (i % 7))", { max_chars: 5_000 });
    expect(answer.text.startsWith("0 \n1 é\n")).toBe(true);
    expect(answer.text.trimEnd().endsWith(`8999 ${"é".repeat(8999 % 7)}`)).toBe(true);
    const [, left, offset] = /… ([\d,]+) characters left out: exec \{cell: \d+, offset: (\d+)\} …/.exec(
      answer.text,
    )!;
    expect(Number(left!.replaceAll(",", ""))).toBe(whole.length + 1 - 5_000);

    const head = answer.blocks[0]!;
    let text = head.type === "text" ? head.text : "";
    expect(text.length).toBe(Number(offset));
    for (let at = Number(offset); ; ) {
      const page = await server.call("exec", { cell: answer.cell, offset: at, max_chars: 20_000 });
      const blocks = page.blocks.flatMap((block) => (block.type === "text" ? [block.text] : []));
      text += blocks[0];
      const next = /more characters: exec \{cell: \d+, offset: (\d+)\}/.exec(page.text)?.[1];
      if (next === undefined) break;
      expect(Number(next)).toBe(at + 20_000);
      at = Number(next);
    }
    expect(text.trimEnd()).toBe(whole);
  });

  test("a page begins and ends at the character it says, also at a line break", async () => {
    const { cell } = await exec("print('\\n'.join(['ab'] * 2000))");
    let text = "";
    for (let at = 0; at < 6_000; at += 500) {
      const page = await server.call("exec", { cell, offset: at, max_chars: 500 });
      const first = page.blocks[0]!;
      text += first.type === "text" ? first.text : "";
    }
    expect(text.trimEnd()).toBe(Array(2_000).fill("ab").join("\n"));
  });

  test("1 GB of prints costs neither side memory; head and tail stay, and the rest is counted", async () => {
    const before = peak(server.pid);
    const answer = await exec(
      [
        "print('first line')",
        "block = ('x' * 99 + '\\n') * 10_000",
        "for _ in range(1000): print(block, end='')",
        "print('last line')",
      ].join("\n"),
    );
    const seen = answer.status.includes("running")
      ? await server.call("exec", { cell: answer.cell })
      : answer;
    expect(seen.status).toContain("ok");
    expect(seen.text.startsWith("first line\nxxx")).toBe(true);
    expect(seen.text.trimEnd().endsWith("last line")).toBe(true);
    expect(peak(server.pid) - before).toBeLessThan(100 * MB);
    // What was dropped stands in the middle of what was kept.
    let dropped = 0;
    for (let at = 0, more = true; more; at += 45_000) {
      const page = await server.call("exec", { cell: answer.cell, offset: at, max_chars: 45_000 });
      more = page.text.includes("more characters: exec");
      for (const [, count] of page.text.matchAll(/([\d,]+) bytes of output dropped/g))
        dropped += Number(count!.replaceAll(",", ""));
      expect(at).toBeLessThan(3 * MB);
    }
    expect(dropped).toBeGreaterThan(998 * MB);
    expect(dropped).toBeLessThan(1_000 * MB);
    expect(seen.status).toContain(`${dropped.toLocaleString("en-US")} bytes of output dropped`);
    const inside = await exec(
      [
        "import glob, re",
        "peaks = []",
        "for path in glob.glob('/proc/[0-9]*/status'):",
        "    found = re.search(r'VmHWM:\\s+(\\d+) kB', open(path).read())",
        "    if found: peaks.append(int(found[1]) // 1000)",
        "max(peaks)",
      ].join("\n"),
    );
    expect(Number(inside.text)).toBeLessThan(400);
  });

  test("a progress bar is one line at the end and progress notifications on the way", async () => {
    const heard: string[] = [];
    const answer = await server.exec(
      "import time\nfrom tqdm import tqdm\nfor _ in tqdm(range(500), desc='work'): time.sleep(0.005)\nprint('done')",
      {},
      { onProgress: (message) => heard.push(message) },
    );
    const lines = answer.text.split("\n");
    expect(lines.length).toBeLessThanOrEqual(3);
    expect(answer.text).toMatch(/work: 100%.* 500\/500/);
    expect(lines.at(-1)).toBe("done");
    expect(heard.length).toBeGreaterThanOrEqual(2);
    expect(heard.every((line) => /^work:.*\/500/.test(line))).toBe(true);
    expect(new Set(heard).size).toBe(heard.length);
  });

  test("a cell that outlasts its call says where it is, and is followed to its end", async () => {
    const first = await exec(
      "print('begun')\ntotal = 0\nfor i in range(30):\n    time.sleep(0.1)\ntotal + i",
      {
        wait_s: 0.8,
      },
    );
    expect(first.text).toBe("begun");
    expect(first.status).toContain(`[cell ${first.cell}: running`);
    expect(first.status).toMatch(new RegExp(`at cell ${first.cell}, line 5`));
    expect(first.status).toContain(`exec {cell: ${first.cell}, offset: 6}`);
    const end = await server.call("exec", { cell: first.cell });
    expect(end.status).toContain("ok");
    expect(end.text).toBe("begun\n29");
    const again = await server.call("exec", { cell: first.cell });
    expect(again.text).toBe("begun\n29");
  });

  test("following with the offset of the last answer repeats nothing and leaves out nothing", async () => {
    const begun = await exec("for i in range(12):\n    print('line', i)\n    time.sleep(0.2)", {
      wait_s: 0.7,
    });
    let { text, status } = begun;
    let answers = 1;
    for (; status.includes("running"); answers++) {
      // None is named as long as nothing was printed.
      const offset = Number(/exec \{cell: \d+, offset: (\d+)\}/.exec(status)?.[1] ?? 0);
      const page = await server.call("exec", { cell: begun.cell, offset, wait_s: 0.7 });
      text = `${text}\n${page.text}`.trim();
      ({ status } = page);
      expect(page.code).toBe("");
    }
    expect(answers).toBeGreaterThan(1);
    expect(text.trimEnd()).toBe(Array.from({ length: 12 }, (_, i) => `line ${i}`).join("\n"));
    const beyond = await server.call("exec", { cell: begun.cell, offset: text.trimEnd().length + 1 });
    expect(beyond.status).toContain("ok, no further output");
  });

  test("a page that is full already is given at once, also of a cell that runs", async () => {
    const { cell } = await exec("print('x' * 2000)\ntime.sleep(30)", { wait_s: 0.7 });
    const started = performance.now();
    const page = await server.call("exec", { cell, offset: 0, max_chars: 500 });
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(page.text).toMatch(/^x{500}\n… 1,50\d more characters: exec \{cell: \d+, offset: 500\}$/);
    expect(page.status).toContain("running");
    await server.call("exec", { cell, stop: true });
  });

  test("a followed cell shows the first lines of its code, clipped", async () => {
    const long = `'${"y".repeat(300)}'`;
    const { cell, code } = await exec(`value = ${long}\n${"value\n".repeat(20)}`);
    expect(code).toBe("");
    const followed = await server.call("exec", { cell });
    const lines = followed.code.split("\n");
    expect(lines[0]).toBe(`In [${cell}]: import time`);
    expect(lines[1]).toMatch(/^ +\.\.\.: value = 'y{100,120}…$/);
    expect(lines.at(-1)).toMatch(/… 18 more lines$/);
    expect(lines).toHaveLength(5);
  });

  test("a busy session says what runs, and the refused code did not run", async () => {
    const long = await exec("for i in range(200): time.sleep(0.05)", { wait_s: 0.3 });
    const refused = await exec("ran = True", { wait_s: 0.5 });
    expect(refused.isError).toBe(true);
    expect(refused.text).toMatch(new RegExp(`cell ${long.cell} has run \\d+ s`));
    expect(refused.text).toContain(`exec {cell: ${long.cell}, stop: true}`);
    expect(refused.text).toMatch(/did not run and will not/);
    const stopped = await server.call("exec", { cell: long.cell, stop: true });
    expect(stopped.status).toContain("interrupted");
    expect(stopped.text).toMatch(/line 2/);
    expect((await exec("'ran' in globals()")).text).toBe("False");
  });

  test("timeout_s ends a cell and keeps the session where the cell can be interrupted", async () => {
    await exec("kept = 1");
    const started = performance.now();
    const answer = await exec("while True: time.sleep(0.01)", { timeout_s: 1 });
    expect(performance.now() - started).toBeLessThan(4_000);
    expect(answer.status).toContain("interrupted");
    expect(answer.text).toMatch(/timeout of 1 s/);
    expect((await exec("kept")).text).toBe("1");
  });

  test("a cell that ignores the interrupt is killed, and the session is as it was before it", async () => {
    await exec("kept = 1");
    const answer = await exec(
      [
        "import signal",
        "while True:",
        "    try:",
        "        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])",
        "        time.sleep(0.05)",
        "    except BaseException: pass",
      ].join("\n"),
      { timeout_s: 0.5 },
    );
    const next = await exec("kept");
    expect(next.text.split("\n").at(-1)).toBe("1");
    expect(answer.text).toMatch(/kernel ended: it ignored the interrupt for 3 s/);
    expect(next.text).toMatch(/as it was after cell \d+; cell \d+ was running then/);
  });

  test("calls to one session run one after the other in the order they came", async () => {
    await exec("seen = []");
    await Promise.all(
      Array.from({ length: 8 }, (_, i) => exec(`time.sleep(${(8 - i) * 0.01})\nseen.append(${i})`)),
    );
    expect((await exec("seen")).text).toBe("[0, 1, 2, 3, 4, 5, 6, 7]");
  });

  test("a withdrawn call interrupts its cell", async () => {
    const controller = new AbortController();
    const call = server.exec("import time\nwhile True: time.sleep(0.01)", {}, { signal: controller.signal });
    const failed = expect(call).rejects.toThrow();
    await delay(500);
    controller.abort("the user pressed escape");
    await failed;
    const next = await exec("'free'");
    expect(next.text.split("\n").at(-1)).toBe("'free'");
  });
});

/** Most memory the process ever had, in bytes. */
function peak(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1_024;
}
