// The channel against a kernel that answers well, badly, late, twice or not at all.
import { beforeEach, describe, expect, test } from "vitest";
import {
  type CallReply,
  type CellListener,
  type IncomingCall,
  KernelChannel,
} from "../../src/kernel/channel.ts";
import { BODY_WINDOW_BYTES, MAX_BODY_PIECE_BYTES } from "../../src/kernel/messages.ts";
import { ClocheError } from "../../src/shared/errors.ts";
import { ScriptedKernel } from "./scripted-kernel.ts";

let kernel: ScriptedKernel;
let channel: KernelChannel;
let closed: ClocheError[];
let died: string[];
let calls: IncomingCall[];
let answer: (call: IncomingCall) => Promise<CallReply>;

beforeEach(() => {
  kernel = new ScriptedKernel();
  closed = [];
  died = [];
  calls = [];
  answer = async () => ({ ok: true, result: "done" });
  channel = new KernelChannel(kernel, {
    call: (call) => {
      calls.push(call);
      return answer(call);
    },
    died: (reason) => died.push(reason),
    closed: (reason) => closed.push(reason),
  });
});

class Heard implements CellListener {
  text = "";
  droppedBytes = 0;
  lines: string[] = [];
  images: [string, string, number][] = [];
  output(chunk: Buffer) {
    this.text += chunk;
  }
  dropped(bytes: number) {
    this.droppedBytes += bytes;
  }
  progress(line: string) {
    this.lines.push(line);
  }
  imagePlaced() {}
  image(id: string, mime: string, data: Buffer) {
    this.images.push([id, mime, data.length]);
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("an honest kernel", () => {
  test("a cell hears its own output and ends once", async () => {
    const heard = new Heard();
    const cell = channel.execute(1, "print(1)", heard);
    const id = kernel.idOf("execute");
    expect(kernel.said[0]?.payload.toString()).toBe("print(1)");
    kernel.say({ type: "output", id }, "1\n");
    kernel.say({ type: "dropped", id, bytes: 7 });
    kernel.say({ type: "finished", id, status: "ok" }, "{}");
    kernel.say({ type: "finished", id, status: "error" }, "{}");
    kernel.say({ type: "output", id }, "late");
    expect(await cell.outcome).toEqual({ status: "ok", end: {} });
    await settle();
    expect(heard).toMatchObject({ text: "1\n", droppedBytes: 7 });
    expect(closed).toEqual([]);
  });

  test("a display arrives whole, in pieces", async () => {
    const heard = new Heard();
    const cell = channel.execute(1, "plot()", heard);
    const id = kernel.idOf("execute");
    kernel.say({ type: "display", id, display: "d1", mime: "image/png", body: true });
    kernel.say({ type: "body", id: "d1", last: false }, Buffer.alloc(MAX_BODY_PIECE_BYTES));
    kernel.say({ type: "body", id: "d1", last: true }, Buffer.alloc(5));
    kernel.say({ type: "finished", id, status: "ok" }, "{}");
    await cell.outcome;
    expect(heard.images).toEqual([["d1", "image/png", MAX_BODY_PIECE_BYTES + 5]]);
  });

  test("a host call is answered with its result, and a body earns credit as it is read", async () => {
    let bytes = 0;
    answer = async ({ body }) => {
      for await (const piece of body!) bytes += piece.length;
      return { ok: true, result: { bytes } };
    };
    const cell = channel.execute(3, "publish('x')", new Heard());
    const id = kernel.idOf("execute");
    kernel.say({ type: "call", id: "k1", cell: id, name: "publish", body: true }, '{"name":"x"}');
    kernel.say({ type: "body", id: "k1", last: false }, "abc");
    kernel.say({ type: "body", id: "k1", last: true }, "de");
    await settle();
    await settle();
    expect(calls[0]).toMatchObject({ name: "publish", args: '{"name":"x"}', cell: 3 });
    expect(
      kernel.said.filter(({ header }) => header.type === "credit").map(({ header }) => header.bytes),
    ).toEqual([3, 2]);
    const reply = kernel.said.at(-1)!;
    expect(reply.header).toEqual({ type: "reply", id: "k1", ok: true });
    expect(JSON.parse(reply.payload.toString())).toEqual({ bytes: 5 });
    kernel.say({ type: "finished", id, status: "ok" }, "{}");
    await cell.outcome;
  });

  test("a call dies with its cell: its signal fires and no reply goes out", async () => {
    answer = ({ signal }) =>
      new Promise((resolve) =>
        signal.addEventListener("abort", () => resolve({ ok: false, code: "cancelled", message: "" })),
      );
    const cell = channel.execute(1, "x", new Heard());
    const id = kernel.idOf("execute");
    kernel.say({ type: "call", id: "k1", cell: id, name: "sql" }, "{}");
    kernel.say({ type: "finished", id, status: "interrupted" }, '{"error":"Interrupted."}');
    await cell.outcome;
    await settle();
    expect(calls[0]?.signal.aborted).toBe(true);
    expect(kernel.said.some(({ header }) => header.type === "reply")).toBe(false);
  });

  test("the death of the kernel ends the running cell with its reason, and nothing else", async () => {
    const cell = channel.execute(1, "os._exit(3)", new Heard());
    kernel.say({ type: "exited", id: kernel.idOf("execute"), reason: "it exited with status 3" });
    expect(await cell.outcome).toEqual({ status: "lost", reason: "it exited with status 3" });
    kernel.say({ type: "exited", reason: "it crashed (SIGSEGV)" });
    await settle();
    expect(died).toEqual(["it crashed (SIGSEGV)"]);
    expect(closed).toEqual([]);
  });

  test("an inspection gets its answer and a late one is ignored", async () => {
    const asked = channel.inspect({ offset: 0, limit: 10 });
    const id = kernel.idOf("inspect");
    kernel.say({ type: "answer", id, ok: true }, '{"text":"x: int"}');
    expect(await asked).toEqual({ ok: true, text: "x: int" });
    kernel.say({ type: "answer", id, ok: true }, '{"text":"again"}');
    await settle();
    expect(closed).toEqual([]);
  });
});

describe("a kernel that lies", () => {
  const violations: [string, (id: string) => void][] = [
    ["says hello again", () => kernel.say({ type: "hello", version: 1, nonce: "n" })],
    ["says what is no message", () => kernel.say({ type: "shutdown" })],
    ["adds a field", (id) => kernel.say({ type: "output", id, path: "/etc/passwd" })],
    ["sends a negative count", (id) => kernel.say({ type: "dropped", id, bytes: -1 })],
    ["ends with what is no end", (id) => kernel.say({ type: "finished", id, status: "ok" }, "[1]")],
    [
      "ends with a smuggled field",
      (id) => kernel.say({ type: "finished", id, status: "ok" }, '{"text":"x"}'),
    ],
    [
      "uses a display id twice",
      (id) => {
        for (const _ of [1, 2])
          kernel.say({ type: "display", id, display: "d", mime: "image/png", body: true });
      },
    ],
    [
      "ends before its displays",
      (id) => {
        kernel.say({ type: "display", id, display: "d", mime: "image/png", body: true });
        kernel.say({ type: "finished", id, status: "ok" }, "{}");
      },
    ],
    [
      "sends a display without end",
      (id) => {
        kernel.say({ type: "display", id, display: "d", mime: "image/png", body: true });
        for (let n = 0; n < 90; n++)
          kernel.say({ type: "body", id: "d", last: false }, Buffer.alloc(MAX_BODY_PIECE_BYTES));
      },
    ],
    [
      "sends too large a piece",
      (id) => {
        kernel.say({ type: "display", id, display: "d", mime: "image/png", body: true });
        kernel.say({ type: "body", id: "d", last: true }, Buffer.alloc(MAX_BODY_PIECE_BYTES + 1));
      },
    ],
    [
      "sends a body without credit",
      (id) => {
        answer = () => new Promise(() => {});
        kernel.say({ type: "call", id: "k", cell: id, name: "publish", body: true }, "{}");
        for (let sent = 0; sent <= BODY_WINDOW_BYTES + MAX_BODY_PIECE_BYTES; sent += MAX_BODY_PIECE_BYTES)
          kernel.say({ type: "body", id: "k", last: false }, Buffer.alloc(MAX_BODY_PIECE_BYTES));
      },
    ],
    [
      "makes more calls than can be open",
      (id) => {
        answer = () => new Promise(() => {});
        for (let n = 0; n < 300; n++) kernel.say({ type: "call", id: `k${n}`, cell: id, name: "x" }, "{}");
      },
    ],
    [
      "uses a call id twice",
      (id) => {
        answer = () => new Promise(() => {});
        for (const _ of [1, 2]) kernel.say({ type: "call", id: "k", cell: id, name: "x" }, "{}");
      },
    ],
  ];

  test.each(violations)("one that %s ends its session with one typed error", async (_, lie) => {
    const cell = channel.execute(1, "x", new Heard());
    const asked = channel.inspect({ offset: 0, limit: 1 });
    lie(kernel.idOf("execute"));
    expect((await cell.outcome).status).toBe("lost");
    await expect(asked).rejects.toMatchObject({ code: "wire.violation" });
    expect(closed.map(({ code }) => code)).toEqual(["wire.violation"]);
    expect(kernel.aborted).toBe(true);
    expect(() => channel.execute(2, "y", new Heard())).toThrowError(
      expect.objectContaining({ code: "wire.violation" }),
    );
  });

  test("frames for a cell that is not there change nothing", async () => {
    const heard = new Heard();
    const cell = channel.execute(1, "x", heard);
    const id = kernel.idOf("execute");
    for (const type of ["output", "progress"]) kernel.say({ type, id: "forged" }, "lie");
    kernel.say({ type: "finished", id: "forged", status: "ok" }, "{}");
    kernel.say({ type: "call", id: "k", cell: "forged", name: "publish" }, "{}");
    kernel.say({ type: "body", id: "forged", last: true }, "lie");
    kernel.say({ type: "finished", id, status: "ok" }, "{}");
    expect(await cell.outcome).toEqual({ status: "ok", end: {} });
    expect(heard.text).toBe("");
    expect(calls).toEqual([]);
    expect(closed).toEqual([]);
  });

  test("code over the limit never leaves the host", () => {
    expect(() => channel.execute(1, "x".repeat(1_000_001), new Heard())).toThrowError(
      expect.objectContaining({ code: "wire.too_large" }),
    );
    expect(kernel.said).toEqual([]);
  });

  test("the end of the stream fails everything pending with one reason", async () => {
    const cell = channel.execute(1, "x", new Heard());
    const asked = channel.restart({ wipe: false, reason: "it was ended", deadlineMs: 60_000 });
    kernel.end();
    expect((await cell.outcome).status).toBe("lost");
    await expect(asked).rejects.toMatchObject({ code: "sandbox.lost" });
    channel.close(new ClocheError("wire.closed", { message: "again" }));
    expect(closed).toHaveLength(1);
  });
});

describe("a kernel that is restarted", () => {
  test("loses its cell once the fresh one is there", async () => {
    const cell = channel.execute(1, "1", new Heard());
    const restarted = channel.restart({ wipe: false, reason: "stopped", deadlineMs: 1_000 });
    kernel.say({ type: "ready", id: kernel.idOf("restart"), python: "3" });
    await restarted;
    expect(await cell.outcome).toEqual({ status: "lost", reason: "stopped" });
    expect(closed).toEqual([]);
  });

  test("and does not come back closes the channel, so that nobody says its files are still there", async () => {
    const cell = channel.execute(1, "1", new Heard());
    await expect(channel.restart({ wipe: false, reason: "stopped", deadlineMs: 20 })).rejects.toThrow(
      "restarting the kernel took longer",
    );
    expect(await cell.outcome).toMatchObject({ status: "lost" });
    expect(closed).toHaveLength(1);
    expect(channel.closedFor).toBe(closed[0]);
  });

  test("fails a look at the variables, and leaves alone a cell that is on its way to the fresh kernel", async () => {
    const look = channel.inspect({ offset: 0, limit: 10 });
    const cell = channel.execute(2, "2", new Heard());
    kernel.say({ type: "exited", reason: "it crashed" });
    await expect(look).rejects.toMatchObject({ code: "sandbox.lost" });
    kernel.say({ type: "finished", id: kernel.idOf("execute"), status: "ok" }, "{}");
    expect(await cell.outcome).toMatchObject({ status: "ok" });
  });
});
