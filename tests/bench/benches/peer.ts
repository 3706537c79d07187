// `1+1` against an MCP server that a user would take instead, both through the same client in the same run.
import { against, type Bench, type BenchContext, type Figure, interleave, timed } from "../bench.ts";
import { expectOk } from "../cloche-server.ts";
import { PEER, PeerServer } from "../peer-server.ts";
import { median, spread } from "../statistics.ts";

const WARM_UP = { cloche: 500, peer: 10 };
const ROUNDS = 10;
const CALLS = { cloche: 50, peer: 5 };

export const peer: Bench = { name: "peer", title: "`1+1` beside an MCP server for Jupyter", run };

async function run({ sandboxes, peerPython, serve }: BenchContext): Promise<Figure[]> {
  const python = await peerPython();
  await using stack = new AsyncDisposableStack();
  const other = stack.use(await PeerServer.start(python));
  if (!(await other.exec("kept = 41")).includes("[") || !(await other.exec("kept + 1")).includes("42"))
    throw new Error("the peer keeps no variables, so it is no peer");
  const one = async (call: () => Promise<unknown>, count: number) => {
    const times: number[] = [];
    for (let at = 0; at < count; at++) times.push(await timed(call));
    return median(times);
  };
  const askPeer = async () => {
    const text = await other.exec("1+1");
    if (!text.includes("2")) throw new Error(`the peer's 1+1 is ${text.slice(0, 200)}`);
  };
  await one(askPeer, WARM_UP.peer);
  const turns: Record<string, () => Promise<number>> = { peer: () => one(askPeer, CALLS.peer) };
  for (const sandbox of sandboxes) {
    const server = stack.use(await serve(sandbox));
    const ask = async () => expectOk(await server.exec("1+1"), "2");
    await one(ask, WARM_UP.cloche);
    turns[sandbox.kind] = () => one(ask, CALLS.cloche);
  }
  const times = await interleave(ROUNDS, turns);
  return sandboxes.map(({ kind }) => ({
    what: "`1+1` through MCP, p50",
    sandbox: kind,
    unit: "ms" as const,
    value: spread(times[kind]!),
    against: against(PEER, times[kind]!, times.peer!),
    note: "it looks every 0.2 s whether the cell has ended; by default once a second",
  }));
}
