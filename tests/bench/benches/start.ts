// How long a person waits for a first result: cold, in a new session with and without the standby, after a reset.
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { against, type Bench, type BenchContext, type Figure, interleave, timed } from "../bench.ts";
import { expectOk } from "../cloche-server.ts";
import type { ServingSandbox } from "../serving-sandboxes.ts";
import { spread } from "../statistics.ts";

const ROUNDS = 5;
/** `milliseconds` until the standby is surely there: its delay, and several times what this start took. */
const standbyAfter = (cold: number) => 1_000 + 3 * cold;

export const start: Bench = { name: "start", title: "The first result", run };

interface Life {
  warm: number[];
  unprepared: number[];
  reset: number[];
}

async function run(context: BenchContext): Promise<Figure[]> {
  const lives = new Map<ServingSandbox, Life>();
  const turns: Record<string, () => Promise<number>> = {};
  for (const sandbox of context.sandboxes) {
    const life: Life = { warm: [], unprepared: [], reset: [] };
    await oneLife(context, sandbox, { warm: [], unprepared: [], reset: [] });
    await bareImports(sandbox);
    lives.set(sandbox, life);
    turns[sandbox.kind] = () => oneLife(context, sandbox, life);
    turns[`bare ${sandbox.kind}`] = () => bareImports(sandbox);
  }
  const colds = await interleave(ROUNDS, turns);
  return context.sandboxes.flatMap((sandbox) => {
    const { warm, unprepared, reset } = lives.get(sandbox)!;
    const cold = colds[sandbox.kind]!;
    const ms = { sandbox: sandbox.kind, unit: "ms" as const };
    return [
      {
        ...ms,
        what: "from starting the server to the first result",
        value: spread(cold),
        against: against(`\`${sandbox.bare.what}\``, cold, colds[`bare ${sandbox.kind}`]!),
        ...(sandbox.kind === "docker" ? { target: { ratio: 2.5 } } : {}),
      },
      {
        ...ms,
        what: "a new session's first result, standby ready",
        value: spread(warm),
        target: { value: 50 },
      },
      { ...ms, what: "a new session's first result, no standby", value: spread(unprepared) },
      { ...ms, what: "`reset` and the first result after it", value: spread(reset) },
    ];
  });
}

/** One server from start to end; resolves with its cold start and notes the rest in `life`. */
async function oneLife({ serve }: BenchContext, sandbox: ServingSandbox, life: Life): Promise<number> {
  const started = performance.now();
  await using server = await serve(sandbox);
  const first = async (session: string) => expectOk(await server.exec("1+1", session), "2");
  await first("main");
  const cold = performance.now() - started;
  await sleep(standbyAfter(cold));
  life.warm.push(await timed(() => first("second")));
  // The standby was just taken, and the next is not yet begun.
  const unprepared = await timed(() => first("third"));
  life.unprepared.push(unprepared);
  // The next standby starts behind these two; a reset is measured beside nothing.
  await sleep(1_000 + 1.5 * unprepared);
  life.reset.push(
    await timed(async () => {
      await server.call("reset", { session: "main" });
      await first("main");
    }),
  );
  return cold;
}

function bareImports({ bare }: ServingSandbox): Promise<number> {
  return timed(
    () =>
      new Promise<void>((resolve, reject) => {
        const child = spawn(bare.command, bare.args, { stdio: ["ignore", "ignore", "inherit"] });
        child.on("error", reject);
        child.on("exit", (code) =>
          code === 0 ? resolve() : reject(new Error(`${bare.what} ended with status ${code}`)),
        );
      }),
  );
}
