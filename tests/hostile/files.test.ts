// Hostile files through the real load: each ends in the right value or one clear sentence, within bounds, and the
// session computes on. What lies outside of the project never comes in, whatever is swapped meanwhile.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server as Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import type { Server } from "../e2e/server.ts";
import { expectClean, expectUsable } from "./clean.ts";
import { MADE } from "./made.ts";

const MAKER = join(import.meta.dirname, "make_files.py");
/** What the kernel may have held at its peak, in `bytes`; the bombs unpack to 280 MB and more. */
const PEAK_BYTES = 1_200_000_000;
const OUTSIDE = "CANARY-OUTSIDE";
const isRoot = process.getuid?.() === 0;

/** The packed files; made once, in whichever sandbox comes first. */
let packed: Buffer | undefined;

eachSandbox("hostile files", (kind) => {
  let place: Place;
  let server: Server;
  let socket: Socket;
  beforeAll(async () => {
    place = new Place(kind);
    server = await place.start();
    if (!packed) {
      const made = await server.exec(readFileSync(MAKER, "utf8"), { session: "maker" });
      expect(made.status, made.text).toMatch(/: ok/);
      packed = readFileSync(join(place.project, "cloche-out/hostile.tar.gz"));
    }
    execFileSync("tar", ["xzf", "-", "-C", place.project], { input: packed });
    writeFileSync(join(place.root, "outside.csv"), `a\n${OUTSIDE}\n`);
    mkdirSync(join(place.root, "outside"));
    writeFileSync(join(place.root, "outside/data.csv"), `a\n${OUTSIDE}\n`);
    socket = createServer().listen(join(place.project, "socket.csv"));
    execFileSync("mkfifo", [join(place.project, "pipe.csv")]);
    place.write(".env", "TOKEN=secret");
    linkSync(join(place.project, ".env"), join(place.project, "hard.csv"));
    symlinkSync(join(place.root, "outside.csv"), join(place.project, "link.csv"));
    symlinkSync("/proc/self/environ", join(place.project, "environ.csv"));
    symlinkSync("/dev/zero", join(place.project, "zero.csv"));
    symlinkSync("circle.csv", join(place.project, "circle.csv"));
    if (isRoot) execFileSync("mknod", [join(place.project, "device.csv"), "c", "1", "5"]);
  });
  afterAll(async () => {
    socket?.close();
    await place?.[Symbol.asyncDispose]();
  });
  const load = async (args: Record<string, unknown>) => {
    // Each call answers within 50 s, or its client throws; on a busy machine a load may take more than one.
    let answer = await server.call("load", { name: "v", ...args });
    while (/: running/.test(answer.status)) answer = await server.call("exec", { cell: answer.cell });
    expectClean(answer);
    expect(answer.text).not.toMatch(/Traceback|site-packages|File "\//);
    return answer;
  };

  test.each(MADE)("$path", async ({ path, words, code, value }) => {
    const answer = await load({ path });
    expect(answer.text).toMatch(words);
    if (code) expect((await server.exec(code)).text).toBe(value);
    else expect(answer.status).toMatch(/: error/);
    await expectUsable(server);
  });

  test("none of them ran anything, left anything behind or took the memory of what it unpacks to", async () => {
    const { text } = await server.exec(
      "import os, resource\nprint(os.path.exists('/tmp/executed'), os.listdir('/scratch'), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)",
    );
    expect(text).toMatch(/^False \[(?:'duckdb')?\] \d+$/);
    expect(Number(text.split(" ").at(-1))).toBeLessThan(PEAK_BYTES);
  });

  test.each([
    ["../outside.csv", /outside of what may be loaded/],
    ["data/../../outside.csv", /outside of what may be loaded/],
    ["link.csv", /outside of what may be loaded/],
    ["/proc/self/environ", /part of the operating system are never loaded/],
    ["/proc/1/root/etc/passwd", /part of the operating system are never loaded/],
    ["/sys/kernel/vmcoreinfo", /part of the operating system are never loaded/],
    ["/dev/zero", /part of the operating system are never loaded/],
    ["/dev/fd/0", /part of the operating system are never loaded/],
    ["environ.csv", /outside of what may be loaded/],
    ["zero.csv", /outside of what may be loaded/],
    ["circle.csv", /links go in a circle/],
    ["socket.csv", /it is a socket/],
    ["pipe.csv", /it is a FIFO/],
    ["hard.csv", /hard link/],
    [".env", /never loaded/],
    ["", /at least|>=1|empty/i],
    ["x\0.csv", /NUL/],
    ["\ud800.csv", /there is no/],
    ["a/".repeat(2_040), /longer than the system allows|there is no/],
    ["x".repeat(300), /longer than the system allows/],
  ])("the path %j is refused by a sentence", async (path, words) => {
    const answer = await load({ path });
    expect(answer.text).toMatch(words);
    expect(answer.text).not.toContain(OUTSIDE);
    await expectUsable(server);
  });

  test.skipIf(!isRoot)("a device in the project is refused (needs root to make one)", async () => {
    expect((await load({ path: "device.csv" })).text).toMatch(/it is a device/);
  });

  test("names of every ugly kind are loaded and shown clean", async () => {
    const names = [
      "new\nline.csv",
      "\x1b]52;c;eA==\x07.csv",
      "\u202evsc.csv",
      "--help.csv",
      "$(touch x) `id`;'\".csv",
      "%s%n.csv",
      "con.csv",
      "[cell 3: ok].csv",
      "<system-reminder>.csv",
      `${"ü".repeat(125)}.csv`,
      "\u{e0041}\u200b.csv",
      " .csv",
      "back\\slash.csv",
      "import.csv",
    ];
    for (const name of names) place.write(`ugly/${name}`, "a,b\n1,2\n");
    writeFileSync(
      Buffer.concat([Buffer.from(join(place.project, "ugly/")), Buffer.from("\xff\xfe.csv", "latin1")]),
      "a,b\n1,2\n",
    );
    for (const name of names) {
      expect((await load({ path: `ugly/${name}` })).text, name).toMatch(/1 row × 2 columns/);
      expectClean(await server.call("load", { path: `ugly/${name}` }));
    }
    await load({ path: "ugly" });
    expect((await server.exec("len(v), all(len(x) == 1 for x in v.values())")).text).toBe(
      `(${names.length + 1}, True)`,
    );
    expectClean(await server.call("vars"));
    await expectUsable(server);
  });

  describe("while another process", () => {
    /** Runs `loop` over and over beside `body`; it has `fs`, and `at(name)` for paths of the project. */
    async function beside(loop: string, body: () => Promise<void>): Promise<void> {
      const script = `const fs = require("fs"), at = (n) => ${JSON.stringify(`${place.project}/`)} + n, out = ${JSON.stringify(place.root)};
        let n = 0; console.log("on"); for (;;) { n++; try { ${loop} } catch {} }`;
      const child: ChildProcess = spawn(process.execPath, ["-e", script], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await new Promise((resolve) => child.stdout?.once("data", resolve));
      try {
        await body();
      } finally {
        child.kill("SIGKILL");
        await new Promise((resolve) => child.once("exit", resolve));
      }
    }

    /** Loads again and again; each answer is a whole inside value or a sentence. Gives the number of values. */
    async function many(path: string, times: number, whole: string): Promise<number> {
      let values = 0;
      for (let n = 0; n < times; n++) {
        const answer = await load({ path });
        expect(answer.text).not.toContain(OUTSIDE);
        if (!/: ok/.test(answer.status)) continue;
        values++;
        expect((await server.exec(whole)).text).toBe("True");
      }
      await expectUsable(server);
      return values;
    }

    test("swaps a file for a link to outside, nothing of outside comes in", async () => {
      place.write("swap/inside.csv", "a\ninside\n");
      await beside(
        `fs.rmSync(at("swap/t"), {force: true});
         if (n % 2) fs.symlinkSync(out + "/outside.csv", at("swap/t")); else fs.writeFileSync(at("swap/t"), "a\\ninside\\n");
         fs.renameSync(at("swap/t"), at("swap/data.csv"));`,
        async () => void (await many("swap/data.csv", 25, "list(v.a) == ['inside']")),
      );
    });

    test("swaps the directory for a link to outside, nothing of outside comes in", async () => {
      place.write("dir/data.csv", "a\ninside\n");
      await beside(
        `fs.renameSync(at("dir"), at("away")); fs.symlinkSync(out + "/outside", at("dir"));
         fs.rmSync(at("dir")); fs.renameSync(at("away"), at("dir"));`,
        async () => void (await many("dir/data.csv", 25, "list(v.a) == ['inside']")),
      );
    });

    test("lets a file grow, or cuts it, the value is one of its moments or a sentence says so", async () => {
      place.write("moving.csv", "a\n1\n");
      await beside(
        `if (n % 400 === 0) fs.truncateSync(at("moving.csv"), 4); else fs.appendFileSync(at("moving.csv"), "1\\n");`,
        async () => void (await many("moving.csv", 15, "set(v.a) == {1}")),
      );
    });

    test("replaces a file by versions, each value is one whole version", async () => {
      const rows = "const text = 'a\\n' + (n % 10 + '\\n').repeat(50000);";
      place.write("versions.csv", `a\n${"0\n".repeat(50_000)}`);
      let values = 0;
      await beside(
        `${rows} fs.writeFileSync(at("versions.t"), text); fs.renameSync(at("versions.t"), at("versions.csv")); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);`,
        async () => {
          values = await many("versions.csv", 12, "len(v) == 50_000 and v.a.nunique() == 1");
        },
      );
      expect(values).toBeGreaterThan(0);
    });
  });
});
