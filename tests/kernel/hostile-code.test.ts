// Code in a cell that owns its kernel process and turns it against the wire: it answers for no other cell or session,
// gets no second answer accepted and leaves no call without one; afterwards its session computes, and the one beside it
// never noticed.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import type { Server } from "../e2e/server.ts";

/** Finds the kernel's line, its own descriptor of it, and the id of the running cell, as any code in there can. */
const GRAB = `
import gc, os, json, struct, threading, time, sys
from cloche_kernel import line as _line, hostcalls as _hostcalls
LINE = next(o for o in gc.get_objects() if type(o) is _line.Line)
FD, CELL = LINE._socket.fileno(), _hostcalls._running
def frame(header, payload=b""):
    text = json.dumps(header).encode()
    return struct.pack(">II", len(text), len(payload)) + text + payload
def say(header, payload=b""):
    data = memoryview(frame(header, payload))
    while data:
        try: data = data[os.write(FD, data):]
        except BlockingIOError: time.sleep(0.01)
`;

interface Case {
  what: string;
  code: string;
  /** what its own answer must be like; anything goes where it is left out */
  own?: RegExp;
  /** the kernel does not survive it, and the reason is named in this way */
  ends?: RegExp;
  /** `seconds` its call waits, 3 where it is left out */
  wait?: number;
}

/** Replaced names of Python and of the kernel's own package; none may cost another cell its answer. */
const replaced: Case[] = [
  {
    what: "sys.stdout and sys.stderr",
    code: "import sys\nclass Null:\n    def write(self, *_): return 0\n    def flush(self): raise SystemExit\nsys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = Null()\nNone",
  },
  {
    what: "print, and every builtin display needs",
    code: "import builtins\nbuiltins.print = builtins.len = builtins.repr = builtins.isinstance = lambda *a, **k: 'lie'\nNone",
  },
  {
    what: "json",
    code: "import json\njson.dumps = json.loads = json.JSONDecoder = json.JSONEncoder = json.encoder = None\nimport sys; sys.modules['json'] = None\nNone",
  },
  {
    what: "os.write, os.read, os.getpid and os.fork",
    code: "import os\nos.write = os.read = os.getpid = os.fork = os.close = None\nNone",
  },
  {
    what: "select, socket and threading",
    code: "import select, socket, threading\nselect.poll = select.select = socket.socket = threading.Condition = threading.Lock = threading.current_thread = None\nNone",
  },
  {
    what: "signal handlers",
    code: "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nsignal.signal = None\nNone",
  },
  {
    what: "get_ipython",
    code: "import builtins\nget_ipython = builtins.get_ipython = lambda: None\nget_ipython()",
  },
  {
    what: "the shell's run_cell",
    code: "ip = get_ipython()\ntype(ip).run_cell = type(ip).run_cell_async = lambda *a, **k: None\nNone",
    ends: /A cell replaced how IPython runs code/,
  },
  {
    what: "the kernel's frames and messages",
    code: "from cloche_kernel import frames, messages, line\nframes.encode = frames.FrameReader = messages.MAX_HEADER_BYTES = None\nNone",
  },
  {
    what: "the encoder of the kernel's line",
    code: "from cloche_kernel import line\nline.encode = lambda header, payload=b'': b'garbage!' * 9\nNone",
    ends: /broke the protocol/,
  },
  {
    what: "the sender of the kernel's line",
    code: "from cloche_kernel import line\nline.Line.send = lambda *a, **k: None\nNone",
    ends: /./,
  },
  {
    what: "the kernel's display and host calls",
    code: "from cloche_kernel import display, hostcalls, figures\ndisplay.flush_streams = display.Display.begin = hostcalls.begin_cell = figures.flush = None\nNone",
    ends: /./,
  },
  {
    what: "the kernel's loop",
    code: "from cloche_kernel import kernel\nkernel.Kernel._answer = lambda *a: None\nNone",
    ends: /./,
  },
  {
    what: "the table of modules",
    code: "import sys\nsys.modules.clear()\nNone",
    own: /sys\.modules\. It was put back/,
  },
  {
    what: "every module of the kernel's package",
    code: "import sys\nfor name in list(sys.modules):\n    if name.startswith('cloche_kernel'): sys.modules[name].__dict__.clear()\nNone",
    ends: /./,
  },
];

const lies: Case[] = [
  {
    what: "garbage to every descriptor",
    code: "import os\nfor d in range(3, 512):\n    try: os.write(d, b'\\xff' * 64)\n    except OSError: pass\nimport time; time.sleep(1)",
    ends: /broke the protocol/,
  },
  {
    what: "half a message to every descriptor",
    code: "import os\nfor d in range(3, 512):\n    try: os.write(d, bytes([0, 0, 0, 40, 0, 15, 0, 0]))\n    except OSError: pass\n'done'",
    ends: /broke the protocol: a message that stops halfway|ended/,
  },
  {
    what: "an end of another cell to every descriptor",
    code: `${GRAB}\nforged = frame({"type": "finished", "id": "AAAAAAAAAAAA", "status": "ok"}, b"{}")\nfor d in range(3, 512):\n    try: os.write(d, forged)\n    except OSError: pass\ntime.sleep(1)`,
    ends: /ended a cell that was not running/,
  },
  {
    what: "no descriptor left",
    code: "import os\nos.closerange(0, 4096)\nimport time; time.sleep(2)",
    ends: /closed its line|exited/,
  },
  {
    what: "its own end, and its real one after it",
    code: `${GRAB}\nsay({"type": "finished", "id": CELL, "status": "ok"}, b"{}")\ntime.sleep(0.3)`,
    ends: /ended a cell that was not running/,
  },
  {
    what: "its end twice at once",
    code: `${GRAB}\nend = {"type": "finished", "id": CELL, "status": "ok"}\nos.write(FD, frame(end, b"{}") + frame(end, b'{"error": "another"}'))\ntime.sleep(2)`,
    ends: /ended a cell that was not running/,
  },
  {
    what: "an end with a smuggled field",
    code: `${GRAB}\nsay({"type": "finished", "id": CELL, "status": "ok", "cell": 1}, b"{}")\ntime.sleep(2)`,
    ends: /broke the protocol/,
  },
  {
    what: "an end that is no end",
    code: `${GRAB}\nsay({"type": "finished", "id": CELL, "status": "ok"}, b"[" * 100_000)\ntime.sleep(2)`,
    ends: /broke the protocol/,
  },
  {
    what: "the supervisor's own messages",
    code: `${GRAB}\nfor kind in ("hello", "ready", "exited", "output", "dropped", "progress", "stack", "started"):\n    say({"type": kind, "id": CELL, "reason": "lie", "pid": 1, "python": "0"}, b"lie")\n'told'`,
    own: /^'told'$/,
  },
  {
    what: "an answer that nobody asked for",
    code: `${GRAB}\nsay({"type": "answer", "id": CELL, "ok": True}, b'{"text": "lie"}')\ntime.sleep(2)`,
    ends: /answered what was not asked/,
  },
  {
    what: "bodies that nobody announced",
    code: `${GRAB}\nfor n in range(50): say({"type": "body", "id": f"b{n}", "last": False}, bytes(262144))\n'sent'`,
    own: /^'sent'$/,
  },
  {
    what: "host calls for a cell that is gone",
    code: `${GRAB}\nfor n in range(300): say({"type": "call", "id": f"c{n}", "cell": "gone", "name": "publish"}, b"{}")\n'sent'`,
    own: /^'sent'$/,
  },
  {
    what: "host calls without end",
    code: `${GRAB}\nfor n in range(3000): say({"type": "call", "id": f"c{n}", "cell": CELL, "name": "publish"}, b"{}")\n'sent'`,
  },
  {
    what: "displays without end",
    code: `${GRAB}\nfor n in range(500): say({"type": "display", "id": CELL, "display": f"d{n}", "mime": "image/png"}, b"x")\ntime.sleep(2)`,
    ends: /showed more than 64 images/,
  },
  {
    what: "a deep header",
    code: `${GRAB}\nos.write(FD, struct.pack(">II", 16000, 0) + b"[" * 16000)\ntime.sleep(2)`,
    ends: /broke the protocol/,
  },
  {
    what: "a header in UTF-16",
    code: `${GRAB}\ntext = json.dumps({"type": "finished", "id": CELL, "status": "ok"}).encode("utf-16")\nos.write(FD, struct.pack(">II", len(text), 2) + text + b"{}")\ntime.sleep(2)`,
    ends: /broke the protocol/,
  },
  {
    what: "messages as fast as it can",
    code: `${GRAB}\nuntil = time.monotonic() + 2\nwhile time.monotonic() < until: say({"type": "pong", "id": "x" * 60})\n'sent'`,
    own: /^'sent'$/,
  },
  {
    what: "a stack pipe that never runs dry",
    code: `${GRAB}
link = lambda d: os.readlink(f"/proc/self/fd/{d}")
STACKS = next(d for d in map(int, os.listdir("/proc/self/fd")) if d >= 200 and link(d).startswith("pipe:") and link(d) != link(1))
os.set_blocking(STACKS, True)
def fill():
    while True: os.write(STACKS, b"lie" * 1000)
for _ in range(4): threading.Thread(target=fill, daemon=True).start()
time.sleep(20)`,
    wait: 1,
  },
  {
    what: "an answer from a forked child",
    code: `${GRAB}\nimport ctypes\npid = ctypes.CDLL(None).fork()\nif pid == 0:\n    os.write(FD, frame({"type": "finished", "id": CELL, "status": "ok"}, b"{}"))\n    os._exit(0)\ntime.sleep(0.5)`,
    ends: /ended a cell that was not running/,
  },
  {
    what: "requests that a forked child steals",
    code: `${GRAB}\nimport ctypes\npid = ctypes.CDLL(None).fork()\nif pid == 0:\n    while True:\n        try: os.read(FD, 1)\n        except OSError: time.sleep(0.001)\n'forked'`,
    own: /^'forked'$/,
  },
  {
    what: "ends of its own cell from a thread, later",
    code: `${GRAB}\ndef later():\n    time.sleep(0.5)\n    say({"type": "finished", "id": CELL, "status": "ok"}, b"{}")\nthreading.Thread(target=later, daemon=True).start()\n'begun'`,
    own: /^'begun'$/,
    ends: /ended a cell that was not running/,
  },
  {
    what: "displays and calls of its own cell from a thread, later",
    code: `${GRAB}\ndef later():\n    for n in range(20):\n        time.sleep(0.05)\n        say({"type": "display", "id": CELL, "display": f"d{n}", "mime": "image/png"}, b"lie")\n        say({"type": "call", "id": f"c{n}", "cell": CELL, "name": "publish"}, b"{}")\nthreading.Thread(target=later, daemon=True).start()\n'begun'`,
    own: /^'begun'$/,
  },
];

eachSandbox("hostile code", (kind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind);
    server = await place.start();
    for (const session of ["beside", "hostile"]) await server.exec("kept = 41", { session });
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());

  /** 1+1 until that is 2: a kernel that does not answer is stopped, as a caller would. All that was said on the way. */
  async function recover(last: Awaited<ReturnType<Server["exec"]>>, atLeast = 1): Promise<string[]> {
    const said: string[] = [];
    for (let round = 1; round <= 8; round++) {
      if (last.status.includes("running"))
        said.push((await server.call("exec", { cell: last.cell, stop: true, session: "hostile" })).text);
      last = await server.exec("1+1", { wait_s: 3, session: "hostile" });
      said.push(last.text);
      if (/(^|\n)2$/.test(last.text) && last.status.includes("ok") && round >= atLeast) return said;
    }
    throw new Error(`The session was never usable again:\n${said.join("\n---\n")}`);
  }

  async function play({ code, own, ends, wait = 3 }: Case) {
    await server.call("reset", { session: "hostile" });
    const first = await server.exec(code, { wait_s: wait, session: "hostile" });
    if (own) expect(first.text).toMatch(own);
    // A lie that a thread tells later comes between two cells.
    if (ends && first.status.includes("ok")) await new Promise((resolve) => setTimeout(resolve, 700));
    const said = [first.text, ...(await recover(first, ends ? 2 : 1))];
    if (ends) {
      expect(said.join("\n---\n")).toMatch(
        /kernel ended: .*(finds the session as it was after cell \d+|variables(, files and loaded data)? are gone)/s,
      );
      expect(said.join("\n---\n")).toMatch(ends);
    }
    // Nobody else was answered by it.
    expect((await server.exec("kept + 1", { session: "beside" })).text).toBe("42");
    // A thief may win a race it lost before: stopped as before, and then it is over.
    await recover(await server.exec("1+1", { wait_s: 3, session: "hostile" }));
  }

  describe("that replaces", () => {
    for (const one of replaced) test(`${one.what} harms nobody else`, () => play(one));
  });

  describe("that sends", () => {
    for (const one of lies) test(`${one.what} harms nobody else`, () => play(one));
  });
});
