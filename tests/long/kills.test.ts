// kill -9 at every step in every sandbox, and of a Docker engine with the sandboxes in it.
import { afterAll, beforeAll, describe, test } from "vitest";
import { Place } from "../e2e/place.ts";
import { eachSandbox, needing } from "../e2e/rows.ts";
import { kernelKills } from "../kills/kernel-kills.ts";
import { Mortal } from "../kills/mortal.ts";
import { serverKills } from "../kills/server-kills.ts";
import { missing, OwnEngine } from "./own-engine.ts";

eachSandbox("kill -9", (kind) => {
  describe("of the server", () => serverKills(kind));
  describe("of the kernel", () => kernelKills(kind));
});

const STEPS = [
  "journaled",
  "cell ended",
  "chunk kept",
  "manifest came",
  "commit begun",
  "packs synced",
  "rows written",
  "committed",
  "flushed",
  "kept",
];
const RESTORE = ["restore begun", "files held", "planned", "asked", "restored", "head moved"];

needing("docker", "kill -9 of an engine", missing, () => {
  let engine: OwnEngine;
  let mortal: Mortal;
  beforeAll(async () => {
    engine = await OwnEngine.open();
    mortal = await Mortal.open(new Place("docker"), { DOCKER_HOST: engine.host });
  }, 600_000);
  afterAll(async () => {
    try {
      await mortal?.[Symbol.asyncDispose]();
    } finally {
      await engine?.[Symbol.asyncDispose]();
    }
  });

  /** Does `work` while the engine is killed at a step, and perhaps the server with it; then both are there again. */
  async function dies(step: string, withServer: boolean, work: () => Promise<unknown>): Promise<void> {
    const { pid } = mortal.server;
    mortal.arm(step, 1, [...engine.pids, ...(withServer ? [pid] : [])]);
    await Promise.allSettled([work()]);
    await engine.died();
    mortal.disarm();
    await engine.revive();
    if (withServer) await mortal.start();
  }

  const both = [true, false];
  test.each(STEPS.flatMap((step) => both.map((server) => [step, server] as const)))(
    "at %s of a checkpoint, the server with it: %s, leaves one state",
    async (step, withServer) => {
      const before = await mortal.advance();
      await dies(step, withServer, () => mortal.hurry());
      await mortal.expectOneOf([before.n, before.n + 1]);
    },
  );

  test.each(RESTORE.flatMap((step) => both.map((server) => [step, server] as const)))(
    "at %s of a reset {to}, the server with it: %s, leaves one state",
    async (step, withServer) => {
      const before = await mortal.advance();
      const now = await mortal.advance();
      await dies(step, withServer, () => mortal.server.call("reset", { to: before.cell }));
      await mortal.expectOneOf([before.n, now.n]);
    },
  );
});
