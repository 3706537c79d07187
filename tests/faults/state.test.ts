// The state directory is full, read-only, unwritable or gone: one clear sentence each time, nothing runs that could not
// be recorded, and the session is usable as soon as the directory is.
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import { expectAnswered, expectGone, expectUsable } from "./invariants.ts";
import { Wire } from "./wire.ts";

const root = process.platform === "linux" && process.getuid?.() === 0;
const disk = test.skipIf(!root);
const because = root ? "" : " (skipped: needs root to mount a small disk)";

eachSandbox("the state directory", (kind) => {
  let place: Place;
  let wire: Wire;
  let installation: string;
  beforeAll(async () => {
    place = new Place(kind);
    installation = readFileSync(join(place.state, "install.json"), "utf8");
    if (root) mount("size=48m");
    writeFileSync(join(place.state, "install.json"), installation);
    place.write("note.txt", "a note");
    wire = await Wire.start(place);
  });
  afterAll(async () => {
    try {
      await wire?.close();
    } finally {
      if (root) spawnSync("umount", ["-l", place.state]);
      await place?.[Symbol.asyncDispose]();
    }
  });
  const mount = (options: string) =>
    execFileSync("mount", ["-t", "tmpfs", "-o", `mode=711,${options}`, "none", place.state]);
  const remount = (options: string) => execFileSync("mount", ["-o", `remount,${options}`, place.state]);
  const fill = () => spawnSync("dd", ["if=/dev/zero", `of=${join(place.state, "ballast")}`, "bs=64k"]);
  const free = () => rmSync(join(place.state, "ballast"));

  disk(
    `full before a call: nothing runs, the sentence says so, and space brings it back${because}`,
    async () => {
      await wire.exec("kept = 1");
      fill();
      const refused = await wire.exec("ran = 1");
      expect(refused).toMatchObject({ isError: true });
      expect(refused.text).toMatch(/cannot grow, because the disk is full.*Free disk space/);
      for (const [tool, args] of [
        ["load", { path: "note.txt" }],
        ["exec", { code: "1", session: "other" }],
      ] as const)
        expect((await wire.call(tool, args)).text).toMatch(/disk is full|Free disk space/);
      expect((await wire.call("vars")).text).toContain("kept");
      free();
      expect((await wire.exec("('ran' in globals(), kept)")).text).toContain("(False, 1)");
      await expectUsable(wire);
    },
  );

  disk(`filled by a cell: the cell is told, its answer comes, and it can be cleared${because}`, async () => {
    const filling = `
kept = 2
try:
    with open('/scratch/big', 'wb') as f:
        while True: f.write(bytes(1_000_000))
except OSError as error:
    print('told:', error.strerror)
print('y' * 1000)`;
    const answer = await wire.exec(filling);
    expect(answer.status).toContain("ok");
    expect(answer.text).toContain("told: No space left on device");
    expect((await wire.call("vars", {})).text).toContain("kept");
    // Nothing can be recorded, so no cell runs that would clear it; a reset does.
    const next = await wire.exec("import os; os.remove('/scratch/big')");
    if (next.isError) {
      expect(next.text).toContain("disk is full");
      const reset = await wire.call("reset");
      expect(reset.text).toContain("is empty");
    }
    await expectUsable(wire);
    expect((await wire.exec("import os; os.path.exists('/scratch/big')")).text).toContain("False");
  });

  test("removed while it runs: it is made anew, and the first answer says what that cost", async () => {
    await wire.exec("kept = 4");
    await wire.exec("1", { session: "long" });
    const running = wire.exec("import time; time.sleep(40)", { session: "long" });
    await delay(300);
    for (const name of ["run", "scratch", "owners", "projects", "kernel", "logs"])
      rmSync(join(place.state, name), { recursive: true, force: true });
    const { text } = await expectUsable(wire);
    expect(text).toMatch(/was removed or replaced while this server ran.*every session is empty/);
    expect((await running).status).toContain("lost");
    expect((await wire.exec("'kept' in globals()")).text).toBe("False");
    expectAnswered(wire);
  });

  test("a file in its place, and back again: refused by a sentence, then served", async () => {
    await wire.close();
    const projects = join(place.state, "projects");
    rmSync(projects, { recursive: true });
    writeFileSync(projects, "");
    wire = await Wire.start(place);
    for (const _ of [1, 2]) {
      const refused = await wire.exec("1");
      expect(refused).toMatchObject({ isError: true });
      expect(refused.text).toMatch(/the state directory .*projects cannot be used.*writable/);
    }
    rmSync(projects);
    await expectUsable(wire);
  });

  disk(
    `read-only at the start: refused by a sentence, and served once it is writable${because}`,
    async () => {
      await wire.close();
      remount("ro");
      wire = await Wire.start(place);
      expect((await wire.exec("1")).text).toMatch(/cannot be (used|opened for writing).*writable/);
      remount("rw");
      await expectUsable(wire);
    },
  );

  test("nothing of it all is left", async () => {
    await wire.close();
    for (const name of ["run", "scratch"]) expect(readdirSync(join(place.state, name))).toEqual([]);
    if (root) execFileSync("umount", [place.state]);
    await expectGone(wire);
  });
});

/** A disk of its own that turns read-only as a failing one does: a remount is refused while files are open for writing. */
class FailingDisk {
  readonly path: string;
  private readonly image: string;

  constructor(path: string, image: string) {
    this.path = path;
    this.image = image;
    writeFileSync(image, "");
    truncateSync(image, 64 * 2 ** 20);
    execFileSync("mkfs.ext4", ["-q", "-F", image]);
    this.mount();
  }

  /** Mounts it, repaired where it failed. */
  mount(): void {
    spawnSync("e2fsck", ["-p", this.image]);
    execFileSync("mount", ["-o", "loop,errors=remount-ro", this.image, this.path]);
    chmodSync(this.path, 0o711);
  }

  fail(): void {
    const device = execFileSync("findmnt", ["-no", "SOURCE", this.path], { encoding: "utf8" }).trim();
    writeFileSync(`/sys/fs/ext4/${basename(device)}/trigger_fs_error`, "a test");
  }

  unmount(): void {
    execFileSync("umount", [this.path]);
  }
}

const unable =
  root &&
  ["mkfs.ext4", "findmnt"].every((name) => spawnSync("which", [name]).status === 0) &&
  existsSync("/dev/loop-control")
    ? undefined
    : "needs root, mkfs.ext4 and a loop device";

describe.skipIf(unable !== undefined)(`a disk that fails${unable ? ` (skipped: ${unable})` : ""}`, () => {
  eachSandbox("under the state directory", (kind) => {
    test("nothing runs unrecorded, each call has its sentence, and what was kept is read after a repair", async () => {
      await using place = new Place(kind);
      const installation = readFileSync(join(place.state, "install.json"), "utf8");
      const disk = new FailingDisk(place.state, join(place.root, "disk.img"));
      let wire: Wire | undefined;
      try {
        writeFileSync(join(place.state, "install.json"), installation);
        place.write("note.txt", "a note");
        wire = await Wire.start(place);
        await wire.call("exec", { code: "kept = 5; print('recorded')", durable: true });
        execFileSync("sync", ["-f", place.state]);
        const running = wire.exec("import time; time.sleep(1); print('through')");
        await delay(400);
        disk.fail();
        const { text, status } = await running;
        expect(`${text}\n${status}`).toMatch(/through|read-only/);
        for (const [tool, args] of [
          ["exec", { code: "ran = 1" }],
          ["exec", { code: "1", session: "third" }],
          ["load", { path: "note.txt" }],
        ] as const) {
          const refused = await wire.call(tool, args);
          expect(refused).toMatchObject({ isError: true });
          expect(refused.text).toMatch(/the disk failed|read-only|cannot be used/);
          expect(refused.text).not.toContain("bug in Cloche");
        }
        const vars = (await wire.call("vars")).text;
        expect(vars).toContain("kept");
        expect(vars).not.toContain("ran");
        expectAnswered(wire);
        await wire.close();
        disk.unmount();
        disk.mount();
        wire = await Wire.start(place);
        expect((await wire.call("exec", { cell: 1 })).text).toContain("recorded");
        await expectUsable(wire);
      } finally {
        await wire?.close();
        spawnSync("umount", ["-l", place.state]);
      }
    });
  });
});
