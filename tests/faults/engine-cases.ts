// What must hold when the Docker engine is killed, frozen or restarted, whichever engine a test can do that to.
import { afterAll, beforeAll, expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { Place } from "../e2e/place.ts";
import type { HeldEngine } from "./engine-proxy.ts";
import { expectAnswered, expectGone, expectUsable } from "./invariants.ts";
import { Wire } from "./wire.ts";

const GONE = /engine stopped answering|is not running|does not answer|failed \(|sandbox ended/;

/** Tests of one engine, which `open` starts below a place. */
export function engineFaults(open: (place: Place) => Promise<HeldEngine>): void {
  let place: Place;
  let engine: HeldEngine;
  let wire: Wire;
  beforeAll(async () => {
    place = new Place("docker");
    place.write("table.csv", `a,b,c\n${"1,2.5,some text\n".repeat(2_000_000)}`);
    engine = await open(place);
    wire = await Wire.start(place, { env: { DOCKER_HOST: engine.host } });
  }, 600_000);
  afterAll(async () => {
    await engine?.revive();
    await wire?.close();
    await place?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
  }, 60_000);

  test("killed while nothing runs: the next answer tells it, and the session starts over with the engine", async () => {
    await wire.exec("kept = 1");
    await engine.die();
    await delay(300);
    const told = await wire.exec("kept");
    expect(told.text).toMatch(GONE);
    expect(told.text).not.toContain("bug in Cloche");
    await engine.revive();
    await expectUsable(wire);
  });

  test("killed under a cell: the cell is lost for that reason", async () => {
    const running = wire.exec("import time; time.sleep(40)");
    await delay(500);
    await engine.die();
    const { text, status } = await running;
    expect(status).toContain("lost");
    expect(text).toMatch(GONE);
    await engine.revive();
    await expectUsable(wire);
  });

  test("killed while sessions start and a file is loaded: each call has its sentence", async () => {
    const load = wire.call("load", { path: "table.csv" });
    const starts = ["b", "c", "d"].map((session) => wire.exec("1+1", { session }));
    await delay(250);
    await engine.die();
    for (const { text } of [await load, ...(await Promise.all(starts))]) {
      expect(text).not.toContain("bug in Cloche");
      expect(text).toMatch(new RegExp(`^2$|${GONE.source}`, "m"));
    }
    await engine.revive();
    for (const session of ["main", "b", "c"]) await expectUsable(wire, session);
  });

  test("frozen: open sessions go on, a new one waits for it, and a reset needs none of it", async () => {
    await expectUsable(wire);
    // Taken now, so that the next new session has no standby to take.
    await wire.exec("1", { session: "e" });
    engine.freeze();
    await expectUsable(wire);
    const waits = await wire.exec("'came'", { session: "f", wait_s: 1 });
    expect(waits.status).toMatch(/running|ok/);
    const reset = await wire.call("reset");
    expect(reset.text).toContain("is empty");
    await engine.revive();
    expect((await wire.call("exec", { cell: waits.cell, session: "f" })).text).toContain("'came'");
    await expectUsable(wire);
    expectAnswered(wire);
  });

  test("killed before the server ends: nothing of it is left all the same", async () => {
    await expectUsable(wire);
    await engine.die();
    await wire.close();
    await engine.revive();
    // What it could not be told to remove is the next server's to sweep.
    wire = await Wire.start(place, { env: { DOCKER_HOST: engine.host } });
    await expectUsable(wire);
    await expectGone(wire);
  });
}
