// Rough handling over the real line: whatever a value, a client or a second call does, one true answer comes and the
// session goes on.
import { afterAll, beforeAll, expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { pngSize } from "./answer.ts";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import type { Server } from "./server.ts";

/** Swallows every interrupt. */
const STUBBORN = "import time\nwhile True:\n  try: time.sleep(0.1)\n  except BaseException: pass";

eachSandbox("rough handling", (kind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind);
    server = await place.start();
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());
  const exec = (code: string, args?: Record<string, unknown>) => server.exec(code, args);
  const start = async (code: string, session = "main") => (await exec(code, { wait_s: 0.2, session })).cell;

  test("a figure that cannot be drawn fails its own cell only, and the others come", async () => {
    const answer = await exec(
      "import matplotlib.pyplot as plt\nplt.figure(); plt.title('$\\\\bad$')\nplt.figure(); plt.plot([1]);",
    );
    expect(answer.images).toHaveLength(1);
    expect(answer.text).toContain("Unknown symbol");
    expect((await exec("1")).status).toContain("ok");
    expect((await exec("plt.figure(); plt.title('$\\\\bad$'); 1/0")).text).toContain("ZeroDivisionError");
    expect((await exec("2")).status).toContain("ok");
  });

  test("bytes that are no image are named, not sent", async () => {
    for (const bytes of ["b'no'", "b'\\x89PNG\\r\\n\\x1a\\n' + b'x' * 30_000_000"]) {
      const answer = await exec(`class A:\n    def _repr_png_(self): return ${bytes}\nA()`);
      expect(answer.images).toHaveLength(0);
      expect(answer.text).toContain("bytes that are no image");
      expect(answer.status).toContain("ok");
    }
  });

  test("an image of any size comes within 2,000 pixels", async () => {
    const { images } = await exec("from PIL import Image\nImage.new('RGB', (10_000, 5_000))");
    expect(pngSize(images[0]!.bytes)).toEqual({ width: 2_000, height: 1_000 });
  });

  test("threads that show images while cells end cost nobody the session", async () => {
    await exec(
      "kept = 1\nimport threading\nfrom PIL import Image\ndef show():\n    for _ in range(40): display(Image.new('RGB', (400, 400)))\nthreads = [threading.Thread(target=show) for _ in range(3)]\nfor t in threads: t.start()",
    );
    for (let cell = 0; cell < 8; cell++) await exec("import time; time.sleep(0.02)");
    expect((await exec("for t in threads: t.join()\nkept")).text).toContain("1");
  });

  test("a value whose every method raises costs the session nothing", async () => {
    await exec(
      "class Bad:\n    def __getattribute__(self, n): raise RuntimeError\n    @property\n    def __class__(self): raise RuntimeError\n    def __repr__(self): raise RuntimeError\nbad = Bad(); good = 5",
    );
    const vars = await server.call("vars");
    expect(vars.text).toMatch(/good: int/);
    expect(vars.text).toMatch(/bad: Bad/);
    expect((await exec("good")).text).toBe("5");
  });

  test("a value that ends the kernel when looked at is told at once", async () => {
    await exec("import os\nclass E:\n    def __repr__(self): os._exit(4)\ne = E();", { session: "looked" });
    const begun = performance.now();
    const answer = await server.call("vars", { session: "looked" });
    expect(answer).toMatchObject({ isError: true });
    expect(answer.text).toContain("it exited with status 4");
    expect(performance.now() - begun).toBeLessThan(5_000);
    expect((await exec("type(e)", { session: "looked" })).text).toMatch(/as it was after cell 1\..*\bE$/s);
  });

  test("names of the standard library that a cell replaces are the user's own matter", async () => {
    await exec("import os, json\nos.write = json.dumps = json.loads = None", { session: "monkey" });
    expect((await exec("{'a': 1}", { session: "monkey" })).text).toBe("{'a': 1}");
    expect((await exec("1/0", { session: "monkey" })).text).toContain("ZeroDivisionError");
    expect((await server.call("vars", { session: "monkey" })).isError).toBe(false);
  });

  test("without a screen a window is refused and the next figure comes", async () => {
    expect((await exec("%matplotlib qt")).text).toContain("There is no screen here");
    expect((await exec("%matplotlib inline\nplt.plot([1]);")).images).toHaveLength(1);
    expect((await exec("from tqdm.notebook import trange\nsum(trange(4))")).text).toContain("6");
  });

  test("a cell stopped in its first millisecond is interrupted, and the variables stay", async () => {
    await exec("early = 1");
    for (let round = 0; round < 10; round++) {
      const answer = await exec("import time; time.sleep(30)", { wait_s: 0 });
      const ended = await server.call("exec", { cell: answer.cell, stop: true });
      expect(ended.status).toContain("interrupted");
    }
    expect((await exec("early")).text).toBe("1");
  });

  test("an interrupt that a hook of IPython's swallows still ends the cell behind it", async () => {
    await exec(`
      import time
      def hook(info, ran=[]):
          if not ran: ran.append(1), time.sleep(30)
      get_ipython().events.register('pre_run_cell', hook)`);
    const answer = await exec("ran = 1; time.sleep(60)", { wait_s: 1 });
    const ended = await server.call("exec", { cell: answer.cell, stop: true });
    expect(ended.status).toContain("interrupted");
    expect((await exec("'ran' in globals()")).text).toBe("False");
  });

  test("stopped by several at once, a stubborn cell costs one kernel, and the call behind it runs", async () => {
    const cell = await start(STUBBORN);
    const behind = exec("'behind'");
    const stops = [1, 2, 3].map(() => server.call("exec", { cell, stop: true }));
    for (const { text, status } of await Promise.all(stops)) {
      expect(status).toContain("lost");
      expect(text).toContain("it ignored the interrupt");
    }
    expect((await behind).text).toMatch(/'behind'$/);
  });

  test("a reset comes before the calls that wait, and says what it ended", async () => {
    await exec("before = 1");
    const cell = await start(STUBBORN);
    const waiting = [1, 2, 3].map((number) => exec(`('before' in globals(), ${number})`));
    const resets = await Promise.all([server.call("reset"), server.call("reset")]);
    for (const { text } of resets) expect(text).toContain("Session main is empty.");
    const answers = await Promise.all(waiting);
    expect(answers.map(({ text }) => text)).toEqual(["(False, 1)", "(False, 2)", "(False, 3)"]);
    const ended = await server.call("exec", { cell });
    expect(ended.text).toBe("[cloche: A reset ended it, and emptied the session.]");
  });

  test("a cell stopped while its session starts says that nothing happened, and the session starts", async () => {
    const cell = await start("1", "starting");
    const ended = await server.call("exec", { cell, stop: true, session: "starting" });
    expect(ended.status).toMatch(/interrupted|ok/);
    expect(ended.text).not.toContain("bug in Cloche");
    expect((await exec("'there'", { session: "starting" })).text).toContain("'there'");
  });

  test("a timeout counts from the first line of code, not from the start of the session", async () => {
    expect((await exec("'in time'", { session: "timed", timeout_s: 0.5 })).text).toContain("'in time'");
    const late = await exec("import time; time.sleep(20)", { session: "timed", timeout_s: 0.3 });
    expect(late.text).toContain("interrupted after its timeout of 0.3 s");
    expect(late.status).toContain("interrupted");
  });

  test("a withdrawn call ends its cell where it runs, and never runs where it waits", async () => {
    const long = exec("import time; time.sleep(1); 'long'");
    await delay(100);
    const withdrawal = new AbortController();
    setTimeout(() => withdrawal.abort(new Error("withdrawn")), 100);
    await expect(server.exec("ran = 1", {}, { signal: withdrawal.signal })).rejects.toThrow();
    expect((await long).text).toContain("'long'");
    expect((await exec("'ran' in globals()")).text).toBe("False");
  });

  test("following a cell shows its progress bar as it stands", async () => {
    const cell = await start(
      "from tqdm import tqdm\nimport time\nfor i in tqdm(range(200)): time.sleep(0.02)",
    );
    await delay(1_000);
    expect((await server.call("exec", { cell, wait_s: 0 })).text).toMatch(/%\|.*\/200/);
    await server.call("exec", { cell, stop: true });
  });

  test("looking at the stack of a cell that took the handler away does not end it", async () => {
    const cell = await start(
      "import faulthandler, time\nfaulthandler.unregister(12)\ntime.sleep(2)\n'lived'",
    );
    expect((await server.call("exec", { cell })).text).toContain("'lived'");
  });

  test("a request over the limit is refused with its size, and the server goes on hearing", async () => {
    await expect(server.exec("1".repeat(20_000_000))).rejects.toThrow(
      /20,000,\d+ bytes, of 16,777,216 at most/,
    );
    expect((await exec("'heard'")).text).toContain("'heard'");
  });
});
