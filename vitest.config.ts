// Which tests run: all but tests/long, which CLOCHE_TEST_LONG=1 adds. Two workers: sandboxes take the rest of the machine.
import { defineConfig } from "vitest/config";

const long = process.env.CLOCHE_TEST_LONG === "1";

export default defineConfig({
  test: {
    environment: "node",
    include: ["tests/**/*.test.ts"],
    exclude: long ? [] : ["tests/long/**"],
    testTimeout: long ? 1_200_000 : 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
    maxWorkers: 2,
  },
});
