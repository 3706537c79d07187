// The history tree of a session, from its cells alone: which lead to where it is now, and which branches were left.

/** A cell and the cell whose state it began in: 0 for an empty session, null where nobody recorded it. */
export interface Step {
  cell: number;
  base: number | null;
}

export interface Branch {
  /** the cell after which it leaves another branch; 0 for the beginning */
  from: number;
  /** its cells, in the order they ran */
  cells: number[];
  /** it leads to where the session is now, as far as it goes */
  isCurrent: boolean;
}

export interface Timeline {
  /** cells that lead to where the session is, first to last */
  current: number[];
  /** the current branch first, then those that were left, in the order they began */
  branches: Branch[];
}

/**
 * `steps` in the order they ran, `at` the cell whose state the session is in. A base that is not among the cells before
 * is taken for the nearest that is: cells of it were pruned.
 */
export function timeline(steps: readonly Step[], at: number): Timeline {
  const bases = basesOf(steps);
  const current = pathTo(at, bases);
  const onPath = new Set(current);
  const branches: Branch[] = current.length > 0 ? [{ from: 0, cells: current, isCurrent: true }] : [];
  /** last cell of a branch that was left → that branch */
  const open = new Map<number, Branch>();
  for (const { cell } of steps) {
    if (onPath.has(cell)) continue;
    const base = bases.get(cell)!;
    const going = open.get(base);
    const branch = going ?? { from: base, cells: [], isCurrent: false };
    if (!going) branches.push(branch);
    open.delete(base);
    branch.cells.push(cell);
    open.set(cell, branch);
  }
  return { current, branches };
}

/** Cells that no branch needs which leads to where the session is. */
export function abandoned({ branches }: Timeline): number[] {
  return branches
    .flatMap(({ cells, isCurrent }) => (isCurrent ? [] : cells))
    .sort((one, other) => one - other);
}

function basesOf(steps: readonly Step[]): Map<number, number> {
  const bases = new Map<number, number>();
  let previous = 0;
  for (const { cell, base } of steps) {
    let found = base ?? previous;
    // Cells only ever build on earlier ones; the nearest earlier one that is still there stands in for one that is not.
    while (found > 0 && !bases.has(found)) found -= 1;
    bases.set(cell, Math.max(0, found));
    previous = cell;
  }
  return bases;
}

function pathTo(at: number, bases: ReadonlyMap<number, number>): number[] {
  const path: number[] = [];
  for (let cell = at; cell > 0; cell = bases.get(cell)!) {
    if (!bases.has(cell)) break;
    path.push(cell);
  }
  return path.reverse();
}
