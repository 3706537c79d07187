// What must hold after every fault, whatever it was: each call got exactly one answer within its bound, the session
// computes, stdout carried nothing but protocol, and five seconds after a server nothing of it is left.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { expectNothingLeft, expectNothingRunning } from "../e2e/left-behind.ts";
import type { Place } from "../e2e/place.ts";
import { ANSWER_BOUND, type Wire } from "./wire.ts";

/** Fails unless every request so far has one answer (a withdrawn one: at most one) and stdout held only protocol. */
export function expectAnswered(wire: Wire): void {
  expect(wire.foreign, "lines on stdout that are no protocol").toEqual([]);
  const unanswered = [...wire.owed].filter((id) => !wire.answered.has(id) && !wire.withdrawn.has(id));
  expect(unanswered, "requests without an answer").toEqual([]);
  const repeated = [...wire.answered].filter(([, count]) => count !== 1);
  expect(repeated, "requests with more than one answer").toEqual([]);
  const unasked = [...wire.answered.keys()].filter((id) => !wire.owed.has(id));
  expect(unasked, "answers that nobody asked for").toEqual([]);
  expect(wire.slowest, "the slowest answer").toBeLessThan(ANSWER_BOUND);
}

/** Fails unless the session computes and every call was answered. Resolves with the first answer, which tells of losses. */
export async function expectUsable(wire: Wire, session = "main") {
  const answer = await wire.exec("1+1", { session });
  // A sentence about what was lost may stand before it.
  expect(answer.text.split("\n").at(-1)).toBe("2");
  expect(answer.status).toMatch(/^\[cell \d+: ok/);
  expectAnswered(wire);
  return answer;
}

/**
 * Ends the server unless it has ended, and fails unless nothing of the place is left: no process, container, mount or
 * socket. `swept` is false where it was killed: the directories of its sandboxes wait for the next server's sweep then.
 */
export async function expectGone(wire: Wire, { swept = true } = {}): Promise<void> {
  if (wire.alive) await wire.close();
  await wire.gone;
  await (swept ? expectNothingLeft(wire.place) : expectNothingRunning(wire.place));
  const sockets = socketFiles(wire.place).filter((path) => swept || !path.startsWith(wire.place.run));
  expect([...attached(wire.place), ...sockets], "mounts and sockets left").toEqual([]);
}

/** Mounts below the place and sockets bound there, as this process's namespaces see them. */
function attached(place: Place): string[] {
  const lines = (path: string) => readFileSync(path, "utf8").split("\n");
  return [...lines("/proc/self/mountinfo"), ...lines("/proc/net/unix")].filter((line) =>
    line.includes(place.root),
  );
}

/** Socket files below the place. */
function socketFiles(place: Place): string[] {
  return readdirSync(place.state, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isSocket())
    .map((entry) => join(entry.parentPath, entry.name));
}
