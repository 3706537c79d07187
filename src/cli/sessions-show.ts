// `cloche sessions show`: the cells of a session as the tree of its branches.
import type { Command } from "commander";
import { formatSize } from "../config/sizes.ts";
import { type Branch, timeline } from "../session/timeline.ts";
import { printable } from "../shared/printable.ts";
import type { History, PastCell } from "../snapshots/history.ts";
import { plain } from "../snapshots/state-words.ts";
import { type CliContext, JSON_OPTION, PROJECT_OPTION } from "./context.ts";
import { configOf, openSession } from "./one-session.ts";
import { columns, count } from "./text.ts";

interface Options {
  project?: string;
  json?: boolean;
}

/** Characters of a cell's first line, and names of what it touched, that are shown. */
const CODE_WIDTH = 60;
const MOST_NAMES = 6;

export function registerShow(sessions: Command, context: CliContext): void {
  sessions
    .command("show <name>")
    .description("print a session's cells by branch: status, duration, what each touched")
    .option(...PROJECT_OPTION)
    .option(...JSON_OPTION)
    .action((name: string, _: Options, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const { store, session } = openSession(configOf(options, context), name, context);
      using _store = store;
      const history = store.history(session.id);
      context.terminal.print(options.json ? JSON.stringify(history, null, 2) : historyText(name, history));
    });
}

export function historyText(name: string, history: History): string {
  const { cells, at, bytes, forked } = history;
  const { branches } = timeline(cells, at);
  const head = [
    `Session ${name}: ${count(cells.length, "cell")}, ${at > 0 ? `in the state after cell ${at}` : "empty now"}.`,
    `${formatSize(bytes.states)} of states, ${formatSize(bytes.outputs)} of outputs.`,
    ...(forked ? [`It began as session ${forked.from} after cell ${forked.cell}.`] : []),
  ].join(" ");
  if (cells.length === 0) return head;
  const byNumber = new Map(cells.map((cell) => [cell.cell, cell]));
  const rows: string[][] = [];
  for (const branch of branches.filter(({ from }) => from === 0)) add(branch, "  ");
  return `${head}\n${columns(rows)}`;

  function add(branch: Branch, indent: string): void {
    if (!branch.isCurrent)
      rows.push([`${indent}left ${branch.from > 0 ? `after cell ${branch.from}` : "by a reset"}:`]);
    const inner = branch.isCurrent ? indent : `${indent}  `;
    for (const number of branch.cells) {
      rows.push(row(byNumber.get(number)!, inner, number === at));
      for (const leaving of branches.filter(({ from }) => from === number)) add(leaving, `${inner}| `);
    }
  }
}

function row(cell: PastCell, indent: string, isHere: boolean): string[] {
  const touched = cell.touched ?? [];
  const names = touched.map((name) => (name === "\0files" ? "/workspace" : plain(name)));
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  return [
    `${indent}${cell.cell}${isHere ? " <- here" : ""}`,
    cell.status,
    duration(cell.duration),
    cell.kept ? "kept" : "",
    printable(cell.code.trim().split("\n")[0] ?? "", CODE_WIDTH),
    names.length > 0 ? `touched ${names.slice(0, MOST_NAMES).join(", ")}${more}` : "",
  ];
}

function duration(ms: number | null): string {
  if (ms === null) return "";
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}
