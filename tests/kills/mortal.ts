// A session of several values that must agree, on a server that can be told at which step it, or others, are killed.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect } from "vitest";
import { delay } from "../../src/shared/async.ts";
import type { Answer } from "../e2e/answer.ts";
import type { Place } from "../e2e/place.ts";
import type { Server } from "../e2e/server.ts";

/** What a server's steps are compared with. */
export interface Armed {
  step: string;
  /** the time it comes to that step, from 1 */
  nth: number;
  /** processes that are killed then, instead of the server */
  pids?: number[];
  /** makes each order another */
  order: number;
}

/** A number in many places: two of them that differ are a mix of two states. */
const BEGIN = `
import numpy as np
n = double = 0; names = []; alias = names; ramp = np.arange(150_000.0); grid = ramp + 0; row = grid[5:9]
def told(): return n
class Held:
    def __init__(self): self.names = names; self.n = 0
held = Held()
n`;
export const ADVANCE = `
n += 1; double = 2 * n; names.append(n); grid[:] = ramp + n; held.n = n
open('n.txt', 'w').write(str(n))
n`;
const LOOK = `
places = [n, double // 2, len(alias), names[-1], held.names is names is alias and n, held.n, told(), row[0] - 5,
          (grid - ramp).min(), (grid - ramp).max(), open('n.txt').read(), table.a.sum() + n - 4]
print('n is', *sorted({int(place) for place in places}))
del places`;

/** A durable point of the session: its number, and the cell after which it is. */
export interface Point {
  n: number;
  cell: number;
}

const DEATH_MS = 20_000;

export class Mortal implements AsyncDisposable {
  readonly place: Place;
  private readonly directory: string;
  private running: Server | undefined;
  private orders = 0;

  private constructor(place: Place) {
    this.place = place;
    this.directory = join(place.root, "steps");
    mkdirSync(this.directory);
  }

  /** With a session `main` that holds the values. Takes the place. */
  static async open(place: Place, env: Record<string, string> = {}): Promise<Mortal> {
    const mortal = new Mortal(place);
    Object.assign(place.env, env);
    place.write("table.csv", "a,b\n1,2\n3,4\n");
    await mortal.start();
    await mortal.begin("main");
    return mortal;
  }

  get server(): Server {
    return this.running!;
  }

  /** Fills a session with the values. */
  async begin(session: string): Promise<void> {
    await this.server.call("load", { path: "table.csv", session });
    await this.server.exec(BEGIN, { session });
    await this.advance(session);
  }

  async start(): Promise<void> {
    this.running = await this.place.start({
      program: join(import.meta.dirname, "server.ts"),
      env: { CLOCHE_TEST_STEPS: this.directory },
    });
  }

  /** Changes all the values in one cell, and waits until that is on disk. */
  async advance(session = "main"): Promise<Point> {
    const { text, cell } = await this.server.exec(ADVANCE, { session, durable: true });
    return { n: Number(text.split("\n").at(-1)), cell };
  }

  /** Changes them without waiting. */
  hurry(session = "main"): Promise<Answer> {
    return this.server.exec(ADVANCE, { session });
  }

  arm(step: string, nth = 1, pids?: number[]): void {
    this.orders += 1;
    const armed: Armed = { step, nth, ...(pids ? { pids } : {}), order: this.orders };
    writeFileSync(join(this.directory, "armed"), JSON.stringify(armed));
  }

  disarm(): void {
    rmSync(join(this.directory, "armed"), { force: true });
  }

  /** Every step that any of the servers came to. */
  steps(): Set<string> {
    const file = join(this.directory, "steps");
    return new Set(existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : []);
  }

  /** Does `work` with a server that is to die of it, and starts the next. */
  async dies(step: string, nth: number, work: () => Promise<unknown>): Promise<void> {
    this.arm(step, nth);
    const { pid } = this.server;
    await Promise.allSettled([work()]);
    await expectEnd(pid, `the server does not come to "${step}"`);
    this.disarm();
    await this.start();
  }

  /** Kills the server where it stands. */
  async kill(): Promise<void> {
    const { pid } = this.server;
    process.kill(pid, "SIGKILL");
    await expectEnd(pid, "the server outlives SIGKILL");
  }

  /**
   * Fails unless the session is at one point, whole, and its first answer says which that is and names every cell
   * after it; the history goes on from there.
   */
  async expectAt(point: Point, session = "main"): Promise<void> {
    let { text, cell, status } = await this.server.exec(LOOK, { session, durable: true });
    // The death of the kernel may be known only once this is given to it.
    if (status.includes("lost")) ({ text, cell } = await this.server.exec(LOOK, { session, durable: true }));
    const said = text.split("\n").slice(0, -1).join(" ");
    expect(text.split("\n").at(-1), text).toBe(`n is ${point.n}`);
    expect(said).toContain(`as it was after cell ${point.cell}`);
    const lost = Array.from({ length: cell - point.cell - 1 }, (_, index) => point.cell + 1 + index);
    for (const each of lost) expect(said, `cell ${each} is not named`).toMatch(new RegExp(`\\b${each}\\b`));
    const next = await this.server.exec("pass", { session });
    expect([cell, next.cell].map((each) => this.baseOf(session, each))).toEqual([point.cell, cell]);
  }

  /** Fails unless the session is whole, at one of these numbers, and what is on disk then is that. */
  async expectOneOf(numbers: number[], session = "main"): Promise<void> {
    const look = async () => {
      let { text, status } = await this.server.exec(LOOK, { session, durable: true });
      // The death of the kernel may be known only once this is given to it.
      if (status.includes("lost")) ({ text } = await this.server.exec(LOOK, { session, durable: true }));
      expect(text.split("\n").at(-1), text).toMatch(/^n is \d+$/);
      return { text, n: Number(text.split(" ").at(-1)) };
    };
    const { n, text } = await look();
    expect(numbers, text).toContain(n);
    await this.server.exec("import os; os.kill(os.getpid(), 9)", { session });
    expect((await look()).n).toBe(n);
  }

  /** The cell whose state a cell began in, as the history has it. */
  private baseOf(session: string, cell: number): number | undefined {
    const projects = join(this.place.state, "projects");
    const [project] = readdirSync(projects);
    const database = new Database(join(projects, project!, "cloche.sqlite"), { readonly: true });
    try {
      const found = database
        .prepare("SELECT base FROM cell WHERE cell = ? AND session = (SELECT id FROM session WHERE name = ?)")
        .get(cell, session) as { base: number } | undefined;
      return found?.base;
    } finally {
      database.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.place[Symbol.asyncDispose]();
  }
}

/** Fails with `otherwise` unless the process ends soon. */
export async function expectEnd(pid: number, otherwise: string): Promise<void> {
  for (const until = Date.now() + DEATH_MS; existsSync(`/proc/${pid}`); await delay(10))
    if (Date.now() > until) throw new Error(otherwise);
}
