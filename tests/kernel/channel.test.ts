// The channel against a kernel that answers well, badly, late, twice or not at all.
import { beforeEach, describe, expect, test } from "vitest";
import {
  type CallReply,
  type CellListener,
  type IncomingCall,
  KernelChannel,
} from "../../src/kernel/channel.ts";
import { MAX_BODY_PIECE_BYTES, MAX_PAYLOAD_BYTES } from "../../src/kernel/messages.ts";
import { Questions } from "../../src/kernel/questions.ts";
import type { Received } from "../../src/kernel/transport.ts";
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
    chunk() {},
    checkpoint() {},
    died: (reason) => died.push(reason),
    closed: (reason) => closed.push(reason),
  });
  kernel.say({ type: "ready", id: "boot", python: "3" });
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
    kernel.say({ type: "body", id: "k1", last: false }, Buffer.alloc(MAX_BODY_PIECE_BYTES));
    kernel.say({ type: "body", id: "k1", last: true }, "de");
    await settle();
    await settle();
    expect(calls[0]).toMatchObject({ name: "publish", args: '{"name":"x"}', cell: 3 });
    expect(
      kernel.said.filter(({ header }) => header.type === "credit").map(({ header }) => header.bytes),
    ).toEqual([MAX_BODY_PIECE_BYTES, 2]);
    const reply = kernel.said.at(-1)!;
    expect(reply.header).toEqual({ type: "reply", id: "k1", ok: true });
    expect(JSON.parse(reply.payload.toString())).toEqual({ bytes: MAX_BODY_PIECE_BYTES + 2 });
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
    kernel.say({ type: "ready", id: "boot", python: "3" });
    kernel.say({ type: "exited", reason: "it crashed (SIGSEGV)" });
    await settle();
    expect(died).toEqual(["it crashed (SIGSEGV)"]);
    expect(closed).toEqual([]);
  });

  test("an inspection gets its answer", async () => {
    const asked = channel.inspect({ offset: 0, limit: 10 });
    kernel.say({ type: "answer", id: kernel.idOf("inspect"), ok: true }, '{"text":"x: int"}');
    expect(await asked).toEqual({ ok: true, text: "x: int" });
  });

  test("an answer whose asker has given up is late, not wrong; a second one is", () => {
    const questions = new Questions();
    const stack: Received = { message: { type: "stack", id: "q" }, payload: Buffer.alloc(0) };
    const asked = questions.ask("q", "stack", () => {}, 0, "the stack");
    return expect(asked)
      .rejects.toMatchObject({ code: "timeout" })
      .then(() => {
        questions.take("q", stack);
        expect(() => questions.take("q", stack)).toThrowError("an answer to nothing that was asked");
      });
  });

  test("what is under way of a body whose call was answered early has no taker, and harms nobody", async () => {
    const cell = channel.execute(1, "publish('x')", new Heard());
    const id = kernel.idOf("execute");
    kernel.say({ type: "call", id: "k1", cell: id, name: "publish", body: true }, "{}");
    await settle();
    kernel.say({ type: "body", id: "k1", last: false }, Buffer.alloc(MAX_BODY_PIECE_BYTES));
    kernel.say({ type: "finished", id, status: "ok" }, "{}");
    kernel.say({ type: "body", id: "k1", last: true }, "the rest");
    expect((await cell.outcome).status).toBe("ok");
    await settle();
    expect(closed).toEqual([]);
  });

  test("an answer of the host's that is too long for the wire is told, not lost", async () => {
    answer = async () => ({ ok: true, result: "x".repeat(MAX_PAYLOAD_BYTES) });
    channel.execute(1, "sql('…')", new Heard());
    kernel.say({ type: "call", id: "k1", cell: kernel.idOf("execute"), name: "sql" }, "{}");
    await settle();
    const reply = kernel.said.at(-1)!;
    expect(reply.header).toEqual({ type: "reply", id: "k1", ok: false });
    expect(JSON.parse(reply.payload.toString())).toMatchObject({ code: "wire.too_large" });
  });

  test("a handler that throws is an answer too", async () => {
    answer = async () => {
      throw new Error("broken");
    };
    channel.execute(1, "x", new Heard());
    kernel.say({ type: "call", id: "k1", cell: kernel.idOf("execute"), name: "x" }, "{}");
    await settle();
    expect(kernel.said.at(-1)!.header).toEqual({ type: "reply", id: "k1", ok: false });
  });
});

describe("limits and ends", () => {
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

  test("fails a look at the variables, and a cell that was on its way, which the fresh one is not given", async () => {
    const look = channel.inspect({ offset: 0, limit: 10 });
    const cell = channel.execute(2, "2", new Heard());
    kernel.say({ type: "exited", reason: "it crashed" });
    await expect(look).rejects.toMatchObject({ code: "sandbox.lost" });
    kernel.say({ type: "ready", id: "boot", python: "3" });
    expect(await cell.outcome).toEqual({ status: "lost", reason: "it crashed", unbegun: true });
    channel.execute(3, "3", new Heard());
    const deaths = kernel.said.flatMap(({ header }) => (header.type === "execute" ? [header.deaths] : []));
    expect(deaths).toEqual([0, 1]);
  });
});
