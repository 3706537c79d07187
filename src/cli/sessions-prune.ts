// `cloche sessions prune`: gives up states and cells that are not needed any more, and says what that freed.
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { formatSize } from "../config/sizes.ts";
import { abandoned, timeline } from "../session/timeline.ts";
import { ClocheError } from "../shared/errors.ts";
import type { History } from "../snapshots/history.ts";
import { type CliContext, PROJECT_OPTION } from "./context.ts";
import { configOf, findSession } from "./one-session.ts";
import { count } from "./text.ts";

interface Options {
  project?: string;
  keep?: string;
  olderThan?: string;
  dryRun?: boolean;
}

/** What may go. */
export interface PruneRule {
  /** states of the current branch that stay, the newest first; all where it is absent */
  keep?: number;
  /** only what was made before, in milliseconds since the epoch */
  before?: number;
}

const UNITS: Record<string, number> = { h: 3_600_000, d: 86_400_000, w: 604_800_000 };

export function registerPrune(sessions: Command, context: CliContext): void {
  sessions
    .command("prune [name]")
    .description("free the space of branches that were left, in one session or in all")
    .option(...PROJECT_OPTION)
    .option("--keep <number>", "keep only so many states of the current branch as well")
    .option(
      "--older-than <age>",
      "only what is older, such as 30d, 12h or 2w; old states of the current branch too",
    )
    .option("--dry-run", "say what would go, and change nothing")
    .addHelpText(
      "after",
      "\nThe state a session is in always stays, and so do the cells that led to it. Afterwards `reset {to}` refuses\nwhat was pruned.",
    )
    .action((name: string | undefined, _: Options, command: Command) =>
      prune(name, command.optsWithGlobals<Options>(), context),
    );
}

async function prune(name: string | undefined, options: Options, context: CliContext): Promise<void> {
  const { terminal } = context;
  const rule = ruleOf(options);
  const config = configOf(options, context);
  if (!existsSync(config.paths.database)) return terminal.print(`${config.project} has no sessions yet.`);
  using cleaner = context.openCleaner(config);
  const { store, space } = cleaner;
  const sessions = name === undefined ? store.sessions() : [findSession(config, store, name)];
  const before = space.budget.measure();
  for (const session of sessions) {
    const { states, cells } = expendable(store.history(session.id), rule);
    if (states.length + cells.length === 0) {
      terminal.print(`${session.name}: nothing to give up.`);
      continue;
    }
    const what = `${count(states.length, "state")} and ${count(cells.length, "cell")} of branches that were left`;
    if (options.dryRun) {
      terminal.print(`${session.name}: ${what} would go.`);
      continue;
    }
    await space.prune(session.id, states);
    await space.deleteCells(session.id, cells);
    terminal.print(`${session.name}: gave up ${what}.`);
  }
  if (options.dryRun) return terminal.print("Nothing was changed.");
  await space.collect(sessions.map(({ id }) => id));
  if (store.servers().length === 0) store.vacuum();
  const after = space.budget.measure();
  terminal.print(`Freed ${formatSize(Math.max(0, before - after))}; ${formatSize(after)} are taken now.`);
}

/** States, by id, and cells that may go by this rule. */
export function expendable(
  history: History,
  { keep, before }: PruneRule,
): { states: number[]; cells: number[] } {
  const past = timeline(history.cells, history.at);
  const left = new Set(abandoned(past));
  const old = (at: number) => before === undefined || at < before;
  const latest = new Map(history.states.map(({ cell, id }) => [cell, id]));
  const isCurrent = ({ cell, id }: { cell: number; id: number }) =>
    !left.has(cell) && latest.get(cell) === id;
  const current = history.states.filter(isCurrent);
  const stays = keep === undefined ? (before === undefined ? current.length : 0) : keep;
  const surplus = new Set(current.slice(0, Math.max(0, current.length - stays)).map(({ id }) => id));
  const states = history.states
    .filter((state) => !state.isHead && old(state.at) && (!isCurrent(state) || surplus.has(state.id)))
    .map(({ id }) => id);
  const cells = history.cells
    // Where nobody recorded in which state a cell began, nobody can say that its branch was left.
    .filter(
      ({ cell, base, startedAt, status }) =>
        left.has(cell) && base !== null && old(startedAt) && status !== "running",
    )
    .map(({ cell }) => cell);
  return { states, cells };
}

function ruleOf({ keep, olderThan }: Options): PruneRule {
  const rule: PruneRule = {};
  if (keep !== undefined) {
    if (!/^\d{1,6}$/.test(keep)) throw wrong("--keep", "a whole number", keep);
    rule.keep = Number(keep);
  }
  if (olderThan !== undefined) {
    const [, number, unit] = /^(\d{1,5})([hdw])$/.exec(olderThan) ?? [];
    if (unit === undefined) throw wrong("--older-than", "an age such as 30d, 12h or 2w", olderThan);
    rule.before = Date.now() - Number(number) * UNITS[unit]!;
  }
  return rule;
}

function wrong(option: string, expected: string, given: string): ClocheError {
  return new ClocheError("input.invalid", {
    message: `${option}: expected ${expected}, not ${JSON.stringify(given)}`,
    hint: "See cloche sessions prune --help.",
  });
}
