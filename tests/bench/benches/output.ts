// 100 MB of output, as many small lines and as few large strings, against python -u into a plain pipe.
import { spawn } from "node:child_process";
import { against, type Bench, type BenchContext, type Figure, interleave, timed } from "../bench.ts";
import { expectOk } from "../cloche-server.ts";
import { spread } from "../statistics.ts";

const ROUNDS = 3;
const SHAPES = [
  {
    what: "100 MB as lines of 100 bytes",
    code: `line = "x" * 99\nfor _ in range(1_000_000): print(line)`,
  },
  { what: "100 MB as strings of 1 MB", code: `text = "x" * 999_999\nfor _ in range(100): print(text)` },
];

export const output: Bench = { name: "output", title: "100 MB of output", run };

async function run({ sandboxes, python, serve }: BenchContext): Promise<Figure[]> {
  const { executable } = await python();
  await using stack = new AsyncDisposableStack();
  const servers = await Promise.all(
    sandboxes.map(async (sandbox) => ({ kind: sandbox.kind, server: stack.use(await serve(sandbox)) })),
  );
  const figures: Figure[] = [];
  for (const { what, code } of SHAPES) {
    const turns: Record<string, () => Promise<number>> = { pipe: () => plainPipe(executable, code) };
    for (const { kind, server } of servers)
      turns[kind] = () => timed(async () => expectOk(await server.callToTheEnd("exec", { code })));
    const times = await interleave(ROUNDS, turns);
    for (const { kind } of servers)
      figures.push({
        what,
        sandbox: kind,
        unit: "ms",
        value: spread(times[kind]!),
        against: against("`python -u` into a plain pipe", times[kind]!, times.pipe!),
        target: { ratio: 2 },
      });
  }
  return figures;
}

/** `milliseconds` that the prints take by their own clock, start of the interpreter not counted; `cat` reads. */
function plainPipe(executable: string, code: string): Promise<number> {
  const clocked = `import sys, time\nstarted = time.perf_counter()\n${code}\nsys.stderr.write(str((time.perf_counter() - started) * 1000))`;
  return new Promise((resolve, reject) => {
    const child = spawn("sh", ["-c", '"$1" -u -c "$2" | cat > /dev/null', "sh", executable, clocked], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += chunk;
    });
    child.on("error", reject);
    child.on("close", () => (Number(said) > 0 ? resolve(Number(said)) : reject(new Error(said))));
  });
}
