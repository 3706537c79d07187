// The server is killed at any point: nothing of it runs five seconds later, and the next one tells what was lost.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { CLONE, Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import { expectGone, expectUsable } from "./invariants.ts";
import { Wire } from "./wire.ts";

/** What a moment is made of; its calls may end with the server, unanswered. */
type Moment = (wire: Wire) => Promise<unknown>;

/** Begins a call and gives it `milliseconds` before the kill. */
async function under(
  wire: Wire,
  call: (wire: Wire) => Promise<unknown>,
  milliseconds: number,
): Promise<void> {
  void call(wire).catch(() => {}); // It ends with the server.
  await delay(milliseconds);
}

const SPINS =
  "kept = 1\nimport subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)\nwhile True: pass";

const whileStarting = (milliseconds: number): [string, Moment, RegExp] => [
  `${milliseconds} ms after it was asked to start a sandbox`,
  (wire) => under(wire, (w) => w.exec("kept = 1"), milliseconds),
  /as it was after cell \d+/,
];

/** moment → what brings it about, and what the next server says of it */
const MOMENTS: [string, Moment, RegExp][] = [
  whileStarting(250),
  [
    "while a file is loaded",
    async (wire) => {
      await wire.exec("kept = 1");
      await under(wire, (w) => w.call("load", { path: "table.csv" }), 100);
    },
    /as it was after cell \d+.*cell \d+ was running then/,
  ],
  [
    "while it resets",
    async (wire) => {
      await wire.exec(SPINS, { wait_s: 0.3 });
      await under(wire, (w) => w.call("reset"), 30);
    },
    // The reset may have been done: then there is nothing to tell.
    /as it was after cell \d+|^2$/,
  ],
  [
    "while it answers",
    async (wire) => {
      await wire.exec("kept = 1");
      wire.process.stdout.pause();
      for (let call = 0; call < 20; call++) await under(wire, (w) => w.exec("print('x' * 40_000)"), 10);
    },
    /as it was after cell \d+/,
  ],
];

const FURTHER: [string, Moment, RegExp][] = [
  ["before its first call", async () => {}, /as it was after cell \d+/],
  ["while a cell runs", (wire) => wire.exec(SPINS, { wait_s: 0.3 }), /cell \d+ was running then/],
  ...Array.from({ length: 30 }, (_, step) => whileStarting(step * 40)),
];
const moments = process.env.CLOCHE_TEST_LONG === "1" ? [...MOMENTS, ...FURTHER] : MOMENTS;

eachSandbox("a server that is killed", (kind) => {
  let place: Place;
  let wire: Wire;
  beforeAll(async () => {
    place = new Place(kind);
    place.write("table.csv", `a,b,c\n${"1,2.5,some text\n".repeat(2_000_000)}`);
    wire = await Wire.start(place);
    await wire.exec("1");
    await wire.close();
    wire = await Wire.start(place);
  });
  afterAll(async () => {
    await wire?.close();
    await place?.[Symbol.asyncDispose]();
  });

  test.each(moments)(
    "%s leaves nothing running, and the next brings the session back and tells what is not in it",
    async (_, moment, told) => {
      await moment(wire);
      process.kill(wire.pid, "SIGKILL");
      await expectGone(wire, { swept: false });
      wire = await Wire.start(place);
      const { text } = await expectUsable(wire);
      expect(text).toMatch(told);
      expect((await wire.exec("globals().get('kept', 1)")).text).toBe("1");
      await wire.close();
      wire = await Wire.start(place);
    },
  );

  test("after all of them, the end of a server leaves no directory either", async () => {
    await expectGone(wire);
  });
});

test("an older Node is refused with one sentence on stderr, before anything is read", () => {
  const old =
    "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })";
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", `data:text/javascript,${encodeURIComponent(old)}`, join(CLONE, "dist/main.js"), "serve"],
    { encoding: "utf8", input: "" },
  );
  expect(status).toBe(1);
  expect(stdout).toBe("");
  expect(stderr).toMatch(
    /^cloche: this is Node 20\.20\.2 \(.*\), and Cloche needs 22\.19 or newer\. Run \.\/setup\.sh .*\n$/,
  );
});
