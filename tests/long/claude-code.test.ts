// The real Claude Code with the server that setup registered, on a 4 GB file under 2 GiB, in both sandboxes.
import { test } from "vitest";
import { missingClaude } from "../e2e/claude-code/binary.ts";
import { playScenario } from "../e2e/claude-code/scenario.ts";
import { eachSandbox, needing } from "../e2e/rows.ts";

const missing = await missingClaude();

needing("claude", "Claude Code", missing, () => {
  eachSandbox("a 4 GB file under 2 GiB", (kind) => {
    test("is loaded, queried, charted and published", () =>
      playScenario(kind, { file: 4e9, memory: "2GiB", memoryBytes: 2 * 2 ** 30 }));
  });
});
