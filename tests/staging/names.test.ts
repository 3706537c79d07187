import { describe, expect, it } from "vitest";
import { label, safeFileName, unique } from "../../src/staging/label.ts";
import { variableName } from "../../src/staging/variable-name.ts";

describe("a variable name", () => {
  it.each([
    ["sales.csv", "sales"],
    ["data/2024 sales.csv", "sales_2024"],
    ["2024-01-15_Sales Report.CSV.GZ", "sales_report_2024_01_15"],
    ["2024.csv", "data_2024"],
    ["class.csv", "class_data"],
    ["list.json", "list_data"],
    ["None.csv", "none_data"],
    ["match.csv", "match_data"],
    ["publish.csv", "publish_data"],
    ["pd.parquet", "pd_data"],
    ["café-über.csv", "cafe_uber"],
    ["売上.csv", "売上"],
    ["が.csv", "が"],
    ["!!!.csv", "data"],
    ["data/*.csv", "data"],
    ["sales/**/*.parquet", "sales"],
    ["sales/2024-*.parquet", "data_2024"],
    ["*.csv", "data"],
    ["logs/", "logs"],
    ["~/x.csv", "x"],
    ["a\nb.csv", "a_b"],
    ["😀.csv", "data"],
    [`${"long".repeat(50)}.csv`, "long".repeat(15)],
  ])("of %j is %s", (path, name) => {
    expect(variableName(path)).toBe(name);
  });

  it("given by the caller wins, also over a builtin", () => {
    expect(variableName("sales.csv", "list")).toBe("list");
    expect(variableName("sales.csv", "ﬁne")).toBe("fine");
  });

  it.each([
    "2x",
    "a b",
    "class",
    "None",
    "",
    "a-b",
    "__builtins__",
    "a;import os",
    "x".repeat(101),
    "a\u202eb",
  ])("%j is refused with a name that works", (name) => {
    expect(() => variableName("sales.csv", name)).toThrow(/Python|100 characters/);
  });

  it("is always an identifier that Python takes", () => {
    for (const path of [
      "1.csv",
      "_.csv",
      "__init__.py",
      "·.csv",
      "ª.csv",
      "\u0300x.csv",
      "9️⃣ a.csv",
      "..",
      "١٢.csv",
    ]) {
      const name = variableName(path);
      expect(variableName("x", name)).toBe(name);
    }
  });
});

describe("a staged file name", () => {
  it.each([
    ["data/sales.csv", "sales.csv"],
    ["/x/Sales 2024 (final).csv.gz", "Sales_2024_final_.csv.gz"],
    [".hidden", "hidden"],
    ["-rf", "rf"],
    ["売上.csv", "売上.csv"],
    ["a\u202eb\n.csv", "a_b_.csv"],
    ["...", "file"],
    ["x/", "x"],
  ])("of %j is %s", (path, name) => {
    expect(safeFileName(path)).toBe(name);
  });

  it("of 255 bytes is cut, keeps its extension, and stays apart from its neighbours", () => {
    const [a, b] = [safeFileName(`${"é".repeat(120)}1.csv.gz`), safeFileName(`${"é".repeat(120)}2.csv.gz`)];
    expect(a).toMatch(/\.csv\.gz$/);
    expect(Buffer.byteLength(a)).toBeLessThanOrEqual(120);
    expect(a).not.toBe(b);
  });

  it("is numbered before its extensions where it is taken", () => {
    const taken = new Set(["sales.csv.gz", "sales-2.csv.gz"]);
    expect(unique("sales.csv.gz", (name) => taken.has(name))).toBe("sales-3.csv.gz");
  });
});

describe("a label", () => {
  it("shows escaped whatever could steer a terminal or reorder a line", () => {
    expect(label("a\u001b[31m\u202e\n\u0000\u200b\u{e0041}\ud800.csv")).toBe(
      "a\\u{1b}[31m\\u{202e}\\u{a}\\u{0}\\u{200b}\\u{e0041}\\u{d800}.csv",
    );
  });

  it("shows bytes that are no UTF-8", () => {
    expect(label(Buffer.from([0x61, 0xff, 0xc3, 0xa9, 0xc3]))).toBe("a\\xffé\\xc3");
  });

  it("is at most 200 characters", () => {
    expect([...label("x".repeat(5000))]).toHaveLength(200);
  });
});
