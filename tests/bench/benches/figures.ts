// Ten figures in one cell, against matplotlib alone drawing and saving the same.
import { against, type Bench, type BenchContext, type Figure, interleave, timed } from "../bench.ts";
import { expectOk } from "../cloche-server.ts";
import { spread } from "../statistics.ts";

const ROUNDS = 5;
const DRAW = `for number in range(10):
    plt.figure(figsize=(8, 5))
    x = np.linspace(0, 10, 500)
    for k in range(4):
        plt.plot(x, np.sin(x + k) * (number + 1), label=f"line {k}")
    plt.title(f"Figure {number}")
    plt.legend()
`;

export const figures: Bench = { name: "figures", title: "Ten figures", run };

async function run({ sandboxes, python, serve }: BenchContext): Promise<Figure[]> {
  await using stack = new AsyncDisposableStack();
  const plain = stack.use((await python()).peer("figures.py"));
  const turns: Record<string, () => Promise<number>> = {
    plain: async () => (await plain.ask({ code: DRAW })) as number,
  };
  for (const sandbox of sandboxes) {
    const server = stack.use(await serve(sandbox));
    expectOk(await server.exec("import matplotlib.pyplot as plt, numpy as np"));
    turns[sandbox.kind] = () =>
      timed(async () => {
        const answer = await server.exec(DRAW);
        expectOk(answer);
        if (answer.images === 0) throw new Error(`no image came back: ${answer.text.slice(0, 500)}`);
      });
  }
  await interleave(1, turns);
  const times = await interleave(ROUNDS, turns);
  return sandboxes.map(({ kind }) => ({
    what: "ten figures drawn, five of them shown",
    sandbox: kind,
    unit: "ms",
    value: spread(times[kind]!),
    against: against("matplotlib saving ten PNGs", times[kind]!, times.plain!),
  }));
}
