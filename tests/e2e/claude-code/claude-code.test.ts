// The real Claude Code with the server that setup registered, on a 1 GB file under 512 MiB, in both sandboxes.
import { test } from "vitest";
import { eachSandbox, needing } from "../rows.ts";
import { missingClaude } from "./binary.ts";
import { playScenario } from "./scenario.ts";

const missing = await missingClaude();

needing("claude", "Claude Code", missing, () => {
  eachSandbox("a 1 GB file under 512 MiB", (kind) => {
    test("is loaded, queried, charted and published", { timeout: 300_000 }, () =>
      playScenario(kind, { file: 1e9, memory: "512MiB", memoryBytes: 512 * 2 ** 20 }),
    );
  });
});
