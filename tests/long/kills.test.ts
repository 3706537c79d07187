// kill -9 at every step in every sandbox, and of a Docker engine with the containers in it.
import { describe } from "vitest";
import { eachSandbox } from "../e2e/rows.ts";
import { kernelKills } from "../kills/kernel-kills.ts";
import { serverKills } from "../kills/server-kills.ts";

eachSandbox("kill -9", (kind) => {
  describe("of the server", () => serverKills(kind));
  describe("of the kernel", () => kernelKills(kind));
});
