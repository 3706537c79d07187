// How figures are shown: a table in the terminal, JSON on disk, Markdown for the README.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { join } from "node:path";
import type { Figure, Unit } from "./bench.ts";
import { isNoisy, type Spread } from "./statistics.ts";

export interface Report {
  name: string;
  title: string;
  /** ISO date and time of the end of the run */
  at: string;
  machine: Machine;
  figures: Figure[];
}

export interface Machine {
  processor: string;
  cpus: number;
  /** `bytes` */
  memory: number;
  system: string;
  node: string;
  /** average number of processes that wanted a processor in the last minute, before the run */
  load: number;
}

export function thisMachine(): Machine {
  return {
    processor: cpus()[0]?.model ?? "unknown",
    cpus: cpus().length,
    memory: totalmem(),
    system: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    load: loadavg()[0] ?? 0,
  };
}

/** Rows under aligned columns, with what is left of the truth about each: its spread and how it meets its target. */
export function asText({ title, figures }: Report): string {
  const rows = figures.map((figure) => [
    figure.what.replaceAll("`", ""),
    figure.sandbox,
    range(figure.value, figure.unit),
    figure.against ? range(figure.against.value, figure.unit) : "",
    figure.against ? factor(figure.against.ratio) : "",
    verdict(figure),
  ]);
  const table = [["", "sandbox", "Cloche", "reference", "ratio", "target"], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join("  ")
      .trimEnd(),
  );
  const asides = figures.flatMap((figure) => {
    const notes = figure.against ? [`against ${figure.against.what.replaceAll("`", "")}`] : [];
    if (figure.note) notes.push(figure.note);
    if (figure.against && isNoisy(figure.against.ratio))
      notes.push("noisy: the ratio more than doubled between rounds");
    return notes.length > 0
      ? [`  ${figure.sandbox}, ${figure.what.replaceAll("`", "")}: ${notes.join("; ")}`]
      : [];
  });
  return [`\n${title}`, ...lines, ...asides].join("\n");
}

/** One Markdown table of all reports, and a line that says where it was measured. */
export function asMarkdown(reports: readonly Report[]): string {
  const rows = reports.flatMap(({ figures }) =>
    figures.map((figure) => {
      const reference = figure.against
        ? `${short(figure.against.value.median, figure.unit)} (${figure.against.what})`
        : "";
      const ratio = figure.against ? factor(figure.against.ratio) : "";
      return `| ${figure.what} | ${figure.sandbox} | ${short(figure.value.median, figure.unit)} | ${reference} | ${ratio} |`;
    }),
  );
  const machine = reports[0]?.machine;
  const where = machine
    ? `Medians, and the ratio's median with its least and greatest round. Measured on ${machine.cpus} × ${machine.processor}, ${Math.round(machine.memory / 1e9)} GB, Node ${machine.node}, ${reports[0]!.at.slice(0, 10)}.`
    : "";
  return [
    "| What | Sandbox | Cloche | Reference | Ratio |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
    where,
  ].join("\n");
}

export function writeReport(directory: string, report: Report): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${report.name}.json`), `${JSON.stringify(report, null, 2)}\n`);
}

/** The reports in `directory`, in the order of `names`. */
export function readReports(directory: string, names: readonly string[]): Report[] {
  const there = new Set(readdirSync(directory));
  return names
    .filter((name) => there.has(`${name}.json`))
    .map((name) => JSON.parse(readFileSync(join(directory, `${name}.json`), "utf8")) as Report);
}

function verdict({ value, against, target }: Figure): string {
  if (!target) return "";
  const [found, wanted, text] =
    "ratio" in target
      ? [against?.ratio.median ?? Number.NaN, target.ratio, `≤ ${number(target.ratio)}×`]
      : [value.median, target.value, `≤ ${number(target.value)}`];
  return `${text} ${found <= wanted ? "reached" : "missed"}`;
}

function factor({ median, min, max }: Spread): string {
  return `${number(median)}× (${number(min)}…${number(max)})`;
}

function range(value: Spread, unit: Unit): string {
  const middle = short(value.median, unit);
  return value.min === value.max ? middle : `${middle} (${number(value.min)}…${number(value.max)})`;
}

function short(value: number, unit: Unit): string {
  return `${number(value)} ${unit}`;
}

/** Three significant digits, no exponent. */
function number(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
}
