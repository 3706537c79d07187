// The kernel packages' copy is whole, readable by everybody, compiled, and shared by servers that start at once.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { installKernelFiles } from "../../src/sandboxes/kernel-files.ts";
import { testConfig } from "./required.ts";

const SOURCE = fileURLToPath(new URL("../../sandbox", import.meta.url));
let target: string;
beforeEach(() => {
  target = mkdtempSync(join(tmpdir(), "cloche-kernel-"));
});
afterEach(() => rmSync(target, { recursive: true }));

const everything = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: "utf8" }).map((path) => join(directory, path));

test("everybody may read the copy, whatever the umask, and nobody but its owner write", async () => {
  const before = process.umask(0o077);
  const copy = await installKernelFiles({ source: SOURCE, target }).finally(() => process.umask(before));
  const paths = everything(copy);
  expect(paths).toContain(join(copy, "cloche_kernel/supervisor.py"));
  for (const path of [copy, ...paths]) {
    const { mode } = statSync(path);
    expect([path, mode & 0o7777]).toEqual([path, statSync(path).isDirectory() ? 0o755 : 0o644]);
  }
});

test("the same packages give the same copy, a changed file another", async () => {
  const source = join(target, "source");
  cpSync(SOURCE, source, { recursive: true });
  const copies = join(target, "copies");
  mkdirSync(copies);
  const first = await installKernelFiles({ source, target: copies });
  expect(await installKernelFiles({ source, target: copies })).toBe(first);
  writeFileSync(join(source, "cloche/more.py"), "");
  expect(await installKernelFiles({ source, target: copies })).not.toBe(first);
});

test("ten that install at once share one whole copy and leave no draft", async () => {
  const found = await Promise.all(
    Array.from({ length: 10 }, () => installKernelFiles({ source: SOURCE, target })),
  );
  expect(new Set(found).size).toBe(1);
  expect(readdirSync(target)).toHaveLength(1);
});

test("a copy that nobody has used for a week is removed, a younger one stays", async () => {
  const old = new Date(Date.now() - 8 * 24 * 3_600_000);
  for (const name of ["111111111111", "222222222222"]) mkdirSync(join(target, name));
  utimesSync(join(target, "111111111111"), old, old);
  await installKernelFiles({ source: SOURCE, target });
  expect(readdirSync(target)).toContain("222222222222");
  expect(readdirSync(target)).not.toContain("111111111111");
});

test("packages that are missing are named", async () => {
  await expect(installKernelFiles({ source: target, target })).rejects.toThrow(/kernel packages are missing/);
});

const python = testConfig.installation?.python?.environment;
test.skipIf(!python)("bytecode is made for the interpreter that will run it", async () => {
  const copy = await installKernelFiles({ source: SOURCE, target, python: python! });
  const compiled = everything(copy).filter((path) => path.endsWith(".pyc"));
  expect(compiled.length).toBeGreaterThan(5);
  for (const path of compiled) expect(statSync(path).mode & 0o777).toBe(0o644);
});
