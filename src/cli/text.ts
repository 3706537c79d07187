// Plain text for people: columns, times, counts. No colours: the output is read in logs and by models as well.
import { printable } from "../shared/printable.ts";

/** Rows in aligned columns, two spaces apart; the last column is ragged. */
export function columns(rows: readonly (readonly string[])[], indent = ""): string {
  const shown = rows.map((row) => row.map((cell) => printable(cell, 400)));
  const widths: number[] = [];
  for (const row of shown)
    row.forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? 0, cell.length);
    });
  return shown
    .map(
      (row) =>
        indent +
        row
          .map((cell, index) => cell.padEnd(widths[index]!))
          .join("  ")
          .trimEnd(),
    )
    .join("\n");
}

/** "just now", "5 minutes ago", "3 days ago". */
export function ago(then: number, now = Date.now()): string {
  const seconds = Math.max(0, (now - then) / 1000);
  const steps: [number, string][] = [
    [86_400, "day"],
    [3_600, "hour"],
    [60, "minute"],
  ];
  for (const [length, unit] of steps)
    if (seconds >= length) return `${count(Math.floor(seconds / length), unit)} ago`;
  return "just now";
}

/** "1 cell", "3 cells". */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
