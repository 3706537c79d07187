// Memory of idle sessions: proportional set size of everything that runs for them, the standby told apart.
import { setTimeout as sleep } from "node:timers/promises";
import { type Bench, type BenchContext, type Figure, timed } from "../bench.ts";
import { expectOk } from "../cloche-server.ts";
import { processMemory, sandboxMemory } from "../process-memory.ts";
import type { ServingSandbox } from "../serving-sandboxes.ts";
import { spread } from "../statistics.ts";

const FURTHER = 3;
/** `milliseconds` until the standby is surely there: its delay, and several times what this start took. */
const standbyAfter = (cold: number) => 1_000 + 3 * cold;

export const memory: Bench = { name: "memory", title: "Memory of idle sessions (PSS)", run };

async function run(context: BenchContext): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const sandbox of context.sandboxes) figures.push(...(await measure(context, sandbox)));
  return figures;
}

async function measure({ serve }: BenchContext, sandbox: ServingSandbox): Promise<Figure[]> {
  const lookAt = sandboxMemory(sandbox.kind);
  await using server = await serve(sandbox);
  const open = async (session: string) => expectOk(await server.exec("1+1", session), "2");
  const look = () => lookAt(server.pid);
  const cold = await timed(() => open("main"));
  // The standby is begun half a second after the first answer: until then the session is alone.
  const alone = look();
  await sleep(standbyAfter(cold));
  const steps: number[] = [];
  let before = look();
  const withStandby = before;
  for (let number = 0; number < FURTHER; number++) {
    await open(`further-${number}`);
    await sleep(standbyAfter(cold));
    const now = look();
    steps.push(now.bytes - before.bytes);
    before = now;
  }
  const megabytes = (bytes: number) => bytes / 1e6;
  const exactly = (bytes: number) => spread([megabytes(bytes)]);
  const common = { sandbox: sandbox.kind, unit: "MB" as const };
  const shim = (found: { shim: number }) =>
    found.shim > 0 ? `, of which the engine's shim ${megabytes(found.shim).toFixed(0)} MB` : "";
  return [
    {
      ...common,
      what: "first idle session, no standby yet",
      value: exactly(alone.bytes),
      target: { value: 180 },
      note: `${alone.processes} processes${shim(alone)}`,
    },
    {
      ...common,
      what: "first idle session and the standby",
      value: exactly(withStandby.bytes),
      note: `${withStandby.processes} processes${shim(withStandby)}`,
    },
    {
      ...common,
      what: "each further idle session",
      value: spread(steps.map(megabytes)),
      target: { value: 120 },
    },
    { ...common, what: "the server itself", value: exactly(processMemory(server.pid)) },
  ];
}
