// Kills the kernel at every step of a checkpoint and a restore, by its own hand and from outside, and looks at what is
// left of the session, which the next call brings back.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";
import { Place } from "../e2e/place.ts";
import { ADVANCE, Mortal } from "./mortal.ts";

/** Makes the kernel end itself at a frame that it sends: before it, in its middle, or after it. */
const FUSE = `
def light(kind, nth, where):
    import os, signal
    from cloche_kernel.checkpoints.beside import Beside
    from cloche_kernel.line import Line
    Beside.fits = lambda beside: False
    send, sendall, kernel, left = Line.send, Line._sendall, os.getpid(), [nth]
    def die(): os.kill(kernel, signal.SIGKILL); signal.pause()
    def burning(line, header, *rest):
        left[0] -= header["type"] == kind
        if left[0] or header["type"] != kind: return send(line, header, *rest)
        if where == "before": die()
        if where == "half": Line._sendall = lambda line, data: (sendall(line, data[: len(data) // 2]), die())
        send(line, header, *rest)
        die()
    Line.send = burning`;

/** Frame, which of its kind, where the kernel ends, and whether the state of its cell is kept. */
const FRAMES: [kind: string, nth: number, where: "before" | "half" | "after", kept: boolean][] = [
  ["finished", 1, "before", false],
  ["finished", 1, "after", false],
  ["chunk", 1, "before", false],
  ["chunk", 1, "half", false],
  ["chunk", 4, "before", false],
  ["checkpoint", 1, "half", false],
  ["checkpoint", 1, "after", true],
  ["checkpoint", 2, "before", false],
  ["checkpoint", 2, "after", true],
];
/** So many variables that the description of the state comes in two pieces. */
const CROWD = "for number in range(3_000): globals()[f'of_a_crowd_{number}'] = [n, number]";

/** Steps of the server at which the kernel is killed; what it sent whole is kept. */
const CHECKPOINT: [step: string, kept: boolean][] = [
  ["chunk kept", false],
  ["manifest came", true],
  ["commit begun", true],
  ["packs synced", true],
  ["committed", true],
  ["flushed", true],
];
const RESTORE = ["restore begun", "files held", "planned", "asked", "restored"];

/** A value that ends whatever reads it back, where it has to be hashed, while a file says so. */
const MINED = `
class Mined:
    def __hash__(self):
        import os
        if os.path.exists('/scratch/lit'):
            if open('/scratch/lit').read() == 'once': os.remove('/scratch/lit')
            os.kill(os.getpid(), 9)
        return 7
mined = {Mined(): n}`;
const LIGHT = (how: "once" | "always") => `open('/scratch/lit', 'w').write('${how}')`;

export function kernelKills(kind: SandboxKind, env: Record<string, string> = {}): void {
  let mortal: Mortal;
  beforeAll(async () => {
    mortal = await Mortal.open(new Place(kind), env);
  });
  afterAll(async () => mortal?.[Symbol.asyncDispose]());

  test.each(FRAMES)(
    "a kernel that ends at frame %s (%i), %s it, leaves one state, its cell's own: %s",
    async (frame, nth, where, kept) => {
      const before = await mortal.advance();
      const light = `exec(${JSON.stringify(FUSE)}, space := {}); space['light']('${frame}', ${nth}, '${where}'); del space`;
      const code = [light, ...(nth > 1 && frame === "checkpoint" ? [CROWD] : []), ADVANCE].join("\n");
      await mortal.server.exec(code);
      // A description of several pieces may have one more: only a state that came whole has to be there.
      if (kept && nth > 1) await mortal.expectOneOf([before.n, before.n + 1]);
      else await mortal.expectAt(kept ? { n: before.n + 1, cell: before.cell + 1 } : before);
      await mortal.server.exec(
        "for name in [*globals()]:\n    if name.startswith('of_a_crowd'): del globals()[name]",
      );
    },
  );

  test.each(CHECKPOINT)(
    "a kernel killed when the server comes to %s of its state leaves one state, that one: %s",
    async (step, kept) => {
      const pid = await kernelOf(mortal);
      const before = await mortal.advance();
      mortal.arm(step, 1, [pid]);
      const [{ cell }] = await Promise.all([mortal.hurry(), mortal.server.exec("pass")]);
      mortal.disarm();
      expect(cell).toBe(before.cell + 1);
      await mortal.expectOneOf(kept ? [before.n + 1] : [before.n, before.n + 1]);
    },
  );

  test.each(RESTORE)("a kernel killed at %s of a reset {to} comes back as the reset says", async (step) => {
    const pid = await kernelOf(mortal);
    const before = await mortal.advance();
    const now = await mortal.advance();
    mortal.arm(step, 1, [pid]);
    const answer = await mortal.server.call("reset", { to: before.cell });
    mortal.disarm();
    await mortal.expectOneOf([answer.isError ? now.n : before.n]);
  });

  test("a kernel killed in the middle of a reset {to} comes back as it was before", async () => {
    await mortal.server.exec(MINED);
    const before = await mortal.advance();
    await mortal.server.exec("mined = {Mined(): n + 1}");
    await mortal.advance();
    await mortal.server.exec(LIGHT("once"), { durable: true });
    const now = await mortal.advance();
    expect(await mortal.server.call("reset", { to: before.cell })).toMatchObject({ isError: true });
    await mortal.expectAt(now);
  });

  test("a kernel killed in the middle of being brought back is brought back by the next", async () => {
    const point = await mortal.advance();
    await mortal.server.exec(`${LIGHT("once")}; import os; os.kill(os.getpid(), 9)`);
    await mortal.expectAt(point);
  });

  test("a state that ends every kernel is told of, and comes back once it does not", async () => {
    const point = await mortal.advance();
    await mortal.server.exec(`${LIGHT("always")}; import os; os.kill(os.getpid(), 9)`);
    const { text } = await mortal.server.exec("import os; os.remove('/scratch/lit'); 'n' in globals()");
    expect(text).toMatch(/could not be brought back as it was after cell \d+.*starts empty/);
    expect(text).toMatch(/False$/);
    await mortal.server.call("reset", { to: point.cell });
    await mortal.expectOneOf([point.n]);
  });
}

/** The session's kernel as this machine sees it. */
async function kernelOf({ server }: Mortal): Promise<number> {
  const { text } = await server.exec("import os; print(os.getpid(), os.readlink('/proc/self/ns/pid'))");
  const [inner, space] = text.split("\n").at(-1)!.split(" ");
  const found = readdirSync("/proc").filter((pid) => {
    try {
      const ids = /^NSpid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]?.split("\t");
      return ids?.at(-1) === inner && readlinkSync(`/proc/${pid}/ns/pid`) === space;
    } catch {
      return false;
    }
  });
  expect(found).toHaveLength(1);
  return Number(found[0]);
}
