// No call waits longer than clients do: what takes longer is answered in time, and goes on.
import { expect, test } from "vitest";
import { Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";

eachSandbox("answers", (kind) => {
  test("by default a call answers after 45 s and before 50, and the cell goes on", async () => {
    await using place = new Place(kind);
    const server = await place.start();
    const started = performance.now();
    const first = await server.exec("import time\nprint('begun')\ntime.sleep(60)\n'ended'");
    const seconds = (performance.now() - started) / 1_000;
    expect(first.status).toContain("running");
    expect(first.text).toBe("begun");
    expect(seconds).toBeGreaterThan(44);
    expect(seconds).toBeLessThan(50);
    const waiting = performance.now();
    const refused = server.exec("1");
    const end = await server.call("exec", { cell: first.cell });
    expect(end.text).toBe("begun\n'ended'");
    expect((await refused).text).toBe("1");
    expect(performance.now() - waiting).toBeLessThan(30_000);
  });

  test("code that cannot start within its wait is refused in time, and does not run later", async () => {
    await using place = new Place(kind);
    const server = await place.start();
    const long = await server.exec("import time\nfor _ in range(5200): time.sleep(0.01)", { wait_s: 0 });
    const started = performance.now();
    const refused = await server.exec("ran = True");
    expect((performance.now() - started) / 1_000).toBeLessThan(50);
    expect(refused.isError).toBe(true);
    expect(refused.text).toMatch(new RegExp(`cell ${long.cell} has run 4\\d s.*will not`, "s"));
    await server.call("exec", { cell: long.cell });
    expect((await server.exec("'ran' in globals()")).text).toBe("False");
  });
});
