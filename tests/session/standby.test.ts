// The warm kernel: who takes it, who gives it back, and what happens to one that died waiting.
import { afterEach, expect, test } from "vitest";
import type { Kernel } from "../../src/kernel/launch.ts";
import { Standby } from "../../src/session/standby.ts";
import { delay } from "../../src/shared/async.ts";
import { ClocheError } from "../../src/shared/errors.ts";
import { silentLog } from "../../src/shared/log.ts";

interface Launched {
  kernel: Kernel;
  ended: boolean;
  die(): void;
  freeze(): void;
}

let launched: Launched[] = [];
let pace = 0;
let standby: Standby;
afterEach(async () => standby[Symbol.asyncDispose]());

/** As much of a kernel as a standby handles. */
async function launch(signal?: AbortSignal): Promise<Kernel> {
  await delay(pace, signal);
  let reason: ClocheError | undefined;
  let frozen = false;
  const one: Launched = {
    ended: false,
    die: () => {
      reason = new ClocheError("sandbox.lost", { message: "it died" });
    },
    freeze: () => {
      frozen = true;
    },
    kernel: {
      responds: async () => !frozen,
      channel: {
        get closedFor() {
          return reason;
        },
      },
      exited: new Promise(() => {}),
      end: async () => {
        one.ended = true;
      },
    } as unknown as Kernel,
  };
  launched.push(one);
  return one.kernel;
}

async function warmedUp(): Promise<Standby> {
  launched = [];
  pace = 0;
  standby = new Standby(launch, silentLog);
  await standby.take();
  for (const until = Date.now() + 5_000; !standby.isReady && Date.now() < until; ) await delay(20);
  return standby;
}

test("the second session gets the warm kernel", async () => {
  const standby = await warmedUp();
  expect(await standby.take()).toBe(launched[1]!.kernel);
});

test("a kernel that does not answer is ended, and a new one is given", async () => {
  const standby = await warmedUp();
  launched[1]!.freeze();
  expect(await standby.take()).toBe(launched[2]!.kernel);
  expect(launched[1]!.ended).toBe(true);
});

test("a kernel that died while it waited is ended, and a new one is given", async () => {
  const standby = await warmedUp();
  launched[1]!.die();
  expect(await standby.take()).toBe(launched[2]!.kernel);
  expect(launched[1]!.ended).toBe(true);
});

test("whoever withdraws while it is warming up is let go at once, and the next one gets it", async () => {
  launched = [];
  pace = 0;
  standby = new Standby(launch, silentLog);
  await standby.take();
  pace = 600;
  await delay(700);
  const withdrawal = new AbortController();
  const taking = standby.take(withdrawal.signal);
  withdrawal.abort(new Error("withdrawn"));
  const begun = performance.now();
  await expect(taking).rejects.toThrow("withdrawn");
  expect(performance.now() - begun).toBeLessThan(200);
  expect(await standby.take()).toBe(launched[1]!.kernel);
  expect(launched).toHaveLength(2);
});
