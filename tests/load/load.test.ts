// One server under load, in little: many sessions at once, idle ones paused, a few hundred cells. tests/long has it in full.
import { afterAll, beforeAll, expect, test } from "vitest";
import { Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import type { Server } from "../e2e/server.ts";
import { allPaused, computeAtOnce, openOneByOne, wakeAll } from "./crowd.ts";
import { sandboxMemory, unreadable } from "./processes.ts";
import { growth, ROLES, soak } from "./soak.ts";

const SESSIONS = 8;
/** Room for what a collector keeps in hand after a start, in `bytes`. */
const SLACK = { server: 60e6, supervisor: 2e6, zygote: 12e6, kernel: 12e6 };

eachSandbox("load", (kind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind, { settings: { idlePauseMinutes: 0.03 } });
    server = await place.start();
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());

  test.skipIf(unreadable)("a session takes the memory that is stated", async () => {
    const { first, further } = await openOneByOne(place, server, 3);
    expect(further, "each further session").toBeLessThan(120e6);
    expect(first, "the first session").toBeLessThan(180e6);
  });

  test("sessions that compute at once each get their own result", () => computeAtOnce(server, SESSIONS));

  test.skipIf(unreadable)(
    "idle sessions are paused and grow by nothing, however often they are woken",
    async () => {
      await allPaused(server, SESSIONS);
      await wakeAll(server, SESSIONS);
      await allPaused(server, SESSIONS);
      const before = sandboxMemory(place, server.pid);
      await wakeAll(server, SESSIONS);
      await allPaused(server, SESSIONS);
      expect(sandboxMemory(place, server.pid) - before).toBeLessThan(SESSIONS * 1e6);
    },
  );

  test.skipIf(unreadable)("five hundred cells leave no descriptor and no memory behind", async () => {
    const samples = await soak(place, server, { cells: 500, samples: 20, seed: 3 });
    for (const role of ROLES) {
      const { memory, descriptors } = growth(samples, role);
      expect(descriptors, `descriptors of the ${role}`).toBeLessThanOrEqual(2);
      expect(memory, `memory of the ${role}`).toBeLessThan(SLACK[role]);
    }
  });
});
