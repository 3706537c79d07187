// The benchmarks' own arithmetic.
import { describe, expect, test } from "vitest";
import { isNoisy, median, quantile, ratios, spread } from "./statistics.ts";

describe("statistics of the benchmarks", () => {
  test("a quantile lies between its neighbours and does not disturb its input", () => {
    const values = [40, 10, 30, 20];
    expect(quantile(values, 0)).toBe(10);
    expect(quantile(values, 1)).toBe(40);
    expect(median(values)).toBe(25);
    expect(quantile(values, 0.99)).toBeCloseTo(39.7);
    expect(values).toEqual([40, 10, 30, 20]);
  });

  test("numbers are ordered as numbers", () => {
    expect(spread([9, 10, 100])).toEqual({ median: 10, min: 9, max: 100 });
  });

  test("a ratio is taken within its round, so a slow round counts for both sides", () => {
    expect(ratios([1, 10, 2], [4, 40, 8])).toEqual({ median: 0.25, min: 0.25, max: 0.25 });
  });

  test("rounds that do not pair up, or no rounds at all, are refused", () => {
    expect(() => ratios([1, 2], [1])).toThrow("2 rounds against 1");
    expect(() => ratios([], [])).toThrow(RangeError);
  });

  test("a ratio that doubles between rounds is noisy", () => {
    expect(isNoisy({ median: 1, min: 0.9, max: 1.7 })).toBe(false);
    expect(isNoisy({ median: 1, min: 0.5, max: 1.7 })).toBe(true);
  });
});
