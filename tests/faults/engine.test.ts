// The Docker engine dies, freezes and comes back, and containers are stopped behind Cloche's back.

import type Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dockerEnvironment, readSurroundings } from "../../src/config/surroundings.ts";
import { connectEngine } from "../../src/sandboxes/docker-connection.ts";
import { findEngine } from "../../src/sandboxes/docker-engine.ts";
import { delay } from "../../src/shared/async.ts";
import { sandboxCount } from "../e2e/left-behind.ts";
import { Place } from "../e2e/place.ts";
import { needing } from "../e2e/rows.ts";
import { availability } from "../sandboxes/required.ts";
import { engineFaults } from "./engine-cases.ts";
import { proxyEngine } from "./engine-proxy.ts";
import { expectGone, expectUsable } from "./invariants.ts";
import { Wire } from "./wire.ts";

const docker = (await availability()).find(({ kind }) => kind === "docker")!;
const environment = dockerEnvironment(readSurroundings());
const socket = docker.available ? findEngine(environment)?.socketPath : undefined;
const missing = !docker.available ? docker.reason : socket ? undefined : "the engine is not at a unix socket";

needing("docker", "the engine", missing, () => {
  engineFaults((place) => proxyEngine(`${place.root.replace(/cl-([^/]+)$/, "engine-$1")}.sock`, socket!));
});

describe.skipIf(missing !== undefined)(`containers${missing ? ` (skipped: ${missing})` : ""}`, () => {
  let place: Place;
  let wire: Wire;
  let engine: Docker;
  beforeAll(async () => {
    place = new Place("docker");
    wire = await Wire.start(place);
    ({ docker: engine } = await connectEngine(environment));
  });
  afterAll(async () => {
    await wire?.close();
    await place?.[Symbol.asyncDispose]();
  });

  /** The place's containers, the oldest first. */
  const containers = async () => {
    const all = await engine.listContainers({ filters: { label: ["cloche=1"] } });
    return all
      .filter(({ Mounts }) => Mounts.some(({ Source }) => Source.startsWith(place.root)))
      .sort((a, b) => a.Created - b.Created)
      .map(({ Id }) => engine.getContainer(Id));
  };

  test("a standby that was paused from outside is passed over, not waited for", async () => {
    await expectUsable(wire);
    for (const until = Date.now() + 30_000; (await sandboxCount(place)) < 2 && Date.now() < until; )
      await delay(100);
    await delay(2_000);
    const standby = (await containers()).at(-1)!;
    await standby.pause();
    const begun = performance.now();
    await expectUsable(wire, "second");
    expect(performance.now() - begun).toBeLessThan(30_000);
  });

  test("one that was killed from outside is told of, and the session starts over", async () => {
    await wire.exec("kept = 1");
    for (const container of await containers()) await container.kill().catch(() => {});
    expect((await wire.exec("kept")).text).toContain("it was killed from outside");
    await expectUsable(wire);
  });

  test("one that was paused under a cell can be stopped, which ends it", async () => {
    const cell = wire.exec("import time\nfor i in range(600): time.sleep(0.1)", { wait_s: 2 });
    await delay(500);
    for (const container of await containers()) await container.pause().catch(() => {});
    const { cell: number, status } = await cell;
    expect(status).toContain("running");
    expect((await wire.call("exec", { cell: number, stop: true })).status).toContain("lost");
    await expectUsable(wire);
  });

  test("nothing of them is left", async () => {
    // One that is still paused would be given up on at the end, and its directories left to the next server.
    for (const container of await containers()) await container.unpause().catch(() => {});
    await expectGone(wire);
  });
});
