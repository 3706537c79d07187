import { describe, expect, it } from "vitest";
import { expandBraces, Glob } from "../../src/staging/glob.ts";

const matches = (pattern: string, path: string) =>
  expandBraces(pattern).some((single) => new Glob(single).matches(path.split("/")));

describe("a glob", () => {
  it.each([
    ["*.csv", "a.csv"],
    ["*", "a"],
    ["a?c.csv", "abc.csv"],
    ["a?c.csv", "a😀c.csv"],
    ["data/*/x.csv", "data/2024/x.csv"],
    ["**/*.csv", "a.csv"],
    ["**/*.csv", "a/b/c.csv"],
    ["a/**/z.csv", "a/z.csv"],
    ["a/**/z.csv", "a/b/c/z.csv"],
    ["**", "a/b"],
    ["x[0-9].csv", "x7.csv"],
    ["x[!0-9].csv", "xa.csv"],
    ["x[^0-9].csv", "xa.csv"],
    ["x[]a].csv", "x].csv"],
    ["{a,b}.csv", "b.csv"],
    ["{a,b{c,d}}*.{csv,tsv}", "bd9.tsv"],
    ["{a}.csv", "{a}.csv"],
    ["a\\*.csv", "a*.csv"],
    ["a\\{b,c}.csv", "a{b,c}.csv"],
    [".h*", ".hidden"],
    ["*a*b*c", "xxaxxbxxc"],
    ["[.csv", "[.csv"],
    ["a//b/./c", "a/b/c"],
  ])("%s matches %s", (pattern, path) => {
    expect(matches(pattern, path)).toBe(true);
  });

  it.each([
    ["*.csv", "a.tsv"],
    ["*.csv", "d/a.csv"],
    ["*", ".hidden"],
    ["?hidden", ".hidden"],
    ["**/*.csv", ".git/a.csv"],
    ["**/*.csv", "a/.b/c.csv"],
    ["x[0-9].csv", "xa.csv"],
    ["x[!0-9].csv", "x1.csv"],
    ["a?c", "ac"],
    ["{a,b}.csv", "c.csv"],
    ["a\\*.csv", "ab.csv"],
    ["a/**/z.csv", "b/z.csv"],
    ["*a*b*c", "xxaxxcxxb"],
    ["A.csv", "a.csv"],
  ])("%s does not match %s", (pattern, path) => {
    expect(matches(pattern, path)).toBe(false);
  });

  it("agrees with another implementation on random names", async () => {
    // minimatch, in Node; hidden names and escapes, where it differs, are left out.
    const { matchesGlob } = await import("node:path");
    let seed = 7;
    const pick = (from: string) => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return from[seed % from.length] as string;
    };
    for (let round = 0; round < 3000; round++) {
      const pattern = Array.from({ length: 1 + (round % 6) }, () => pick("ab*?/")).join("");
      const path = Array.from({ length: 1 + (round % 7) }, () => pick("ab/")).join("");
      if (/\/\/|^\/|\/$|\*\*/.test(pattern) || /\/\/|^\/|\/$/.test(path)) continue;
      expect([pattern, path, matches(pattern, path)]).toEqual([pattern, path, matchesGlob(path, pattern)]);
    }
  });

  it("answers at once for a pattern made to be slow", () => {
    const started = performance.now();
    expect(matches(`${"*a".repeat(100)}b`, "a".repeat(255))).toBe(false);
    expect(matches(`${"**/a/".repeat(50)}b`, `${"a/".repeat(200)}c`)).toBe(false);
    expect(performance.now() - started).toBeLessThan(500);
  });

  it("refuses braces that multiply beyond reason", () => {
    expect(() => expandBraces("{a,b}".repeat(30))).toThrow(/256 alternatives/);
    expect(() => expandBraces("{".repeat(5000))).not.toThrow();
  });

  it("knows which directories cannot hold a match", () => {
    const glob = new Glob("data/2*/x.csv");
    expect(glob.mayContain(["data"])).toBe(true);
    expect(glob.mayContain(["data", "2024"])).toBe(true);
    expect(glob.mayContain(["data", "1999"])).toBe(false);
    expect(glob.mayContain(["data", "2024", "x.csv"])).toBe(false);
    expect(new Glob("a/**/x").mayContain(["a", "b", "c", "d"])).toBe(true);
  });
});
