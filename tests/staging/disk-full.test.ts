// A disk that is really full: a small tmpfs, which only root can mount.
import { execFileSync, spawnSync } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DirectoryStore } from "../../src/artifacts/directory.ts";
import { StagingArea } from "../../src/staging/stage.ts";
import { failure, makePlace } from "./fixture.ts";

const root = process.platform === "linux" && process.getuid?.() === 0;
const never = new AbortController().signal;

async function withSmallDisk(directory: string, work: () => Promise<void>): Promise<void> {
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "none", directory]);
  try {
    await work();
  } finally {
    spawnSync("umount", [directory]);
  }
}

describe.skipIf(!root)("a full disk (needs root to mount one)", () => {
  it.each([8_000_000, 60_000_000])(
    "refuses a file of %i bytes by a sentence and leaves nothing",
    async (size) => {
      await using place = await makePlace();
      await place.write("project/big.bin", Buffer.alloc(size, 1));
      await place.write("project/filler.bin", Buffer.alloc(18_000_000, 1));
      await withSmallDisk(place.staging, async () => {
        const asking = new StagingArea({ directory: place.staging, access: place.access, reserve: 0 });
        await asking.stage({ path: "filler.bin" }, never);
        expect(await failure(asking.stage({ path: "big.bin" }, never))).toMatch(
          /^load.too_large: the load needs .* on the disk/,
        );
        // The room can vanish between the question and the copy.
        const unasking = new StagingArea({ directory: place.staging, access: place.access, reserve: -1e12 });
        expect(await failure(unasking.stage({ path: "big.bin" }, never))).toMatch(
          /^load.too_large: the disk .* became full/,
        );
        expect(await readdir(join(place.staging, "data"))).toEqual(["filler.bin"]);
      });
    },
  );

  it("refuses to publish by a sentence and leaves nothing", async () => {
    await using place = await makePlace();
    await withSmallDisk(place.project, async () => {
      const body = async function* () {
        for (let i = 0; i < 200; i++) yield Buffer.alloc(262_144, 1);
      };
      for (const reserve of [0, -1e12]) {
        const store = new DirectoryStore({ project: place.project, output: "out", reserve });
        expect(await failure(store.put("a.bin", body(), never))).toMatch(
          /^store.full: the disk of .* nothing was published/,
        );
        expect(await readdir(join(place.project, "out"))).toEqual([]);
      }
    });
  });
});
