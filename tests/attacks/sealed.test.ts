// Nobody gets out: every attack succeeds outside the sandbox, and as a cell inside it is stopped by what is named.
import { tmpdir } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import type { Server } from "../e2e/server.ts";
import {
  ATTACKER,
  hostTarget,
  Listeners,
  newToken,
  plantFiles,
  plantSession,
  removeFiles,
  seenInside,
} from "./host.ts";
import {
  installInSession,
  isStopped,
  listAttacks,
  type Outcome,
  runInCell,
  runOutside,
  type Target,
} from "./programs.ts";

const { attacks, missing } = listAttacks();
const families = [...new Set(attacks.map(({ family }) => family))];

eachSandbox("sealed", (kind) => {
  if (missing !== undefined) return test.skip(`every attack (${missing})`, () => {});
  const token = newToken();
  let place: Place;
  let server: Server;
  let listeners: Listeners;
  let target: Target;
  let planted: Record<string, string> = {};
  let outside: Map<string, Outcome>;

  beforeAll(async () => {
    place = new Place(kind);
    server = await place.start({ env: { CLOCHE_CANARY: token } });
    listeners = await Listeners.open(token, `${place.root}/host.sock`);
    planted = plantFiles(place.root, token, {
      project: place.project,
      home: place.env.HOME!,
      tmp: tmpdir(),
      state: place.state,
    });
    target = await plantSession(server, place, token, hostTarget(place.root, token, listeners, planted));
    outside = await runOutside(target);
    await installInSession(server, seenInside(target), ATTACKER);
  });
  afterAll(async () => {
    await listeners?.[Symbol.asyncDispose]();
    removeFiles(planted);
    await place?.[Symbol.asyncDispose]();
  });

  for (const family of families)
    describe(family, () => {
      for (const attack of attacks.filter((one) => one.family === family))
        test(attack.name, async ({ skip }) => {
          const inside = await runInCell(server, attack.name, ATTACKER);
          expect(inside, "inside").not.toHaveProperty("got");
          expect(inside, "inside").not.toHaveProperty("broken");
          const { got, stopped, absent, broken } = outside.get(attack.name) ?? { broken: "it did not run" };
          expect(broken, "outside").toBeUndefined();
          if (got === undefined)
            skip(`not exercisable here: outside it is stopped too (${absent ?? stopped})`);
          expect(
            isStopped(attack, inside),
            `${inside.stopped} is none of ${attack.stoppedBy.join(", ")}`,
          ).toBe(true);
        });
    });

  test("the session computes after all of them", async () => {
    expect((await server.exec("1+1", { session: ATTACKER })).text).toBe("2");
  });

  test.runIf(process.getuid?.() === 0)("root can exercise nearly all of them", () => {
    const exercised = attacks.filter(({ name }) => outside.get(name)?.got !== undefined);
    expect(exercised.length).toBeGreaterThan(attacks.length * 0.8);
  });
});
