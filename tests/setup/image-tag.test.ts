// The names of image and environment: a hash of what they are made from, and of nothing else.
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultBase, imageTag } from "../../scripts/install/image.ts";
import { environmentPath } from "../../scripts/install/python-environment.ts";

const base = "python:3.13-slim";
const interpreter = { executable: "/usr/bin/python3.13", version: "3.13.5", prefix: "/usr" };
let sources: string;

beforeEach(() => {
  sources = mkdtempSync(join(tmpdir(), "cloche-tag-"));
  cpSync(resolve("sandbox"), sources, { recursive: true });
});
afterEach(() => rmSync(sources, { recursive: true }));

const tag = (packages?: string) => imageTag(sources, base, packages);
const environment = (packages?: string, version = interpreter.version) =>
  environmentPath({ sources, directory: "/x", interpreter: { ...interpreter, version }, packages, env: {} });

test("an image is named by twelve hex digits", () => {
  expect(tag()).toMatch(/^cloche-sandbox:[0-9a-f]{12}$/);
});

test.each(["Dockerfile", "requirements.txt", "finish_environment.py", "cloche_kernel/supervisor.py"])(
  "a change of %s gives the image another tag",
  (file) => {
    const before = tag();
    appendFileSync(join(sources, file), "\n# changed\n");
    expect(tag()).not.toBe(before);
  },
);

test("a new file in a kernel package, a package of the user's and another base each give another tag", () => {
  const tags = new Set([
    tag(),
    tag("statsmodels\n"),
    imageTag(sources, "mirror.example/python:3.13", undefined),
  ]);
  writeFileSync(join(sources, "cloche_kernel/new.py"), "");
  expect(tags.add(tag()).size).toBe(4);
});

test("file times, bytecode and files beside the inputs leave the tag as it is", () => {
  const before = [tag("a"), environment("a")];
  utimesSync(join(sources, "requirements.txt"), 1, 1);
  mkdirSync(join(sources, "cloche_kernel/__pycache__"), { recursive: true });
  writeFileSync(join(sources, "cloche_kernel/__pycache__/kernel.cpython-313.pyc"), "bytes");
  writeFileSync(join(sources, "notes.txt"), "mine");
  expect([tag("a"), environment("a")]).toEqual(before);
});

test("requirements, the user's packages and the interpreter each name another environment", () => {
  const names = new Set([environment(), environment("statsmodels\n"), environment(undefined, "3.13.6")]);
  appendFileSync(join(sources, "requirements.txt"), "\nstatsmodels\n");
  expect(names.add(environment()).size).toBe(4);
});

test("a change of the kernel packages alone keeps the environment", () => {
  const before = environment();
  appendFileSync(join(sources, "cloche_kernel/supervisor.py"), "\n# changed\n");
  expect(environment()).toBe(before);
});

test("the Dockerfile names the base that serves when none is given", () => {
  expect(defaultBase(sources)).toMatch(/^python:3\.1[1-4]/);
});
