// Ten thousand cells of every kind in one session leave server, supervisor, zygote and kernel as large as they were.
import { expect, test } from "vitest";
import { Place } from "../e2e/place.ts";
import { anySandbox } from "../e2e/rows.ts";
import { unreadable } from "../load/processes.ts";
import { growth, ROLES, soak } from "../load/soak.ts";

const CELLS = Number(process.env.CLOCHE_SOAK_CELLS ?? 10_000);
/** What may come and go in a process that does not grow, in `bytes`: a collector's headroom. */
const SLACK = { server: 24e6, supervisor: 2e6, zygote: 2e6, kernel: 8e6 };

anySandbox("ten thousand cells", (kind) => {
  test.skipIf(unreadable)("grow neither memory nor descriptors", async () => {
    await using place = new Place(kind);
    const server = await place.start();
    const samples = await soak(place, server, {
      cells: CELLS,
      samples: 40,
      seed: 7,
      onSample: (sample, cell) => {
        const megabytes = ROLES.map(
          (role) => `${role} ${(sample[role].memory / 1e6).toFixed(1)} MB ${sample[role].descriptors} fd`,
        );
        console.log(`cell ${cell}: ${megabytes.join(", ")}`);
      },
    });
    for (const role of ROLES) {
      const { memory, descriptors } = growth(samples, role);
      expect(memory, `memory of the ${role}`).toBeLessThan(SLACK[role]);
      expect(descriptors, `descriptors of the ${role}`).toBeLessThanOrEqual(2);
    }
  });
});
