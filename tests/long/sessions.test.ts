// Twenty sessions at once on however few processors, and thirty that idle: right answers, and memory that stays.
import { expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import { allPaused, computeAtOnce, openOneByOne, wakeAll } from "../load/crowd.ts";
import { sandboxMemory, unreadable } from "../load/processes.ts";

/** How long the idle ones are watched, in `minutes`. */
const MINUTES = Number(process.env.CLOCHE_IDLE_MINUTES ?? 60);
const IDLE = 30;

eachSandbox("many sessions", (kind) => {
  test("twenty at once each compute something else, and all are right", async () => {
    await using place = new Place(kind);
    const server = await place.start();
    for (let round = 0; round < 3; round++) await computeAtOnce(server, 20);
  });

  const watched = MINUTES * 60_000;
  test.skipIf(unreadable)(
    "thirty idle ones are paused and keep the memory they have",
    { timeout: watched + 1_200_000 },
    async () => {
      await using place = new Place(kind, { settings: { idlePauseMinutes: 0.5 } });
      const server = await place.start();
      const { first, further, last } = await openOneByOne(place, server, IDLE);
      console.log(
        `the first ${megabytes(first)}, each further ${megabytes(further)}, of the last ${megabytes(last)}`,
      );
      expect(first, "the first session").toBeLessThan(180e6);
      expect(further, "each further session").toBeLessThan(120e6);
      expect(last, "each of the last sessions").toBeLessThan(120e6);

      await allPaused(server, IDLE);
      const before = sandboxMemory(place, server.pid);
      const until = Date.now() + watched;
      for (let round = 0; Date.now() < until; round++) {
        await delay(Math.min(30_000, Math.max(0, until - Date.now())));
        // A person comes back to some of them now and then.
        if (round % 4 === 3) await wakeAll(server, 5);
        console.log(
          `${IDLE} sessions: ${megabytes(sandboxMemory(place, server.pid) - before)} more than at first`,
        );
      }
      await wakeAll(server, IDLE);
      await allPaused(server, IDLE);
      expect(sandboxMemory(place, server.pid) - before, "growth of all").toBeLessThan(IDLE * 1e6);
    },
  );
});

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
