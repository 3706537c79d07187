// A store with states in it, made as a kernel would make them: chunks, then the manifest that names them.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Checkpoint, Covariable, Manifest } from "../../src/snapshots/checkpoints.ts";
import { type Lease, Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";
import type { SqliteCheckpoints } from "../../src/snapshots/sqlite-checkpoints.ts";

export const name = (text: string | Uint8Array) =>
  createHash("sha256").update(text).digest("hex").slice(0, 32);

/** Bytes that no two seeds share. */
export function bytes(length: number, seed: string): Buffer {
  return Buffer.alloc(length, createHash("sha256").update(seed).digest());
}

/** A project's state directory with one server on it. */
export class Project implements Disposable {
  readonly directory: string;
  readonly owners: Owners;
  readonly lease: Lease;
  readonly packs: string;
  readonly database: string;
  store!: SqliteStore;
  states!: SqliteCheckpoints;
  cap: number | undefined;
  readonly #own: boolean;

  constructor(directory?: string) {
    this.#own = directory === undefined;
    this.directory = directory ?? mkdtempSync(join(tmpdir(), "cloche-states-"));
    this.packs = join(this.directory, "packs");
    this.database = join(this.directory, "cloche.sqlite");
    mkdirSync(join(this.directory, "owners"), { recursive: true });
    this.owners = new Owners(join(this.directory, "owners"));
    this.lease = this.owners.lease();
    this.open();
  }

  open(step?: (name: string) => void): void {
    this.store = new SqliteStore(this.database, this.owners, this.lease.token);
    this.states = this.store.checkpoints({
      packs: this.packs,
      ...(this.cap === undefined ? {} : { cap: this.cap }),
      ...(step ? { step } : {}),
    });
  }

  /** Another process would find it so. */
  reopen(): void {
    this.store[Symbol.dispose]();
    this.open();
  }

  session(asked = "main"): string {
    return this.store.claim(asked, this.lease.token).session.id;
  }

  /** Runs a cell after which the session holds these variables and nothing else. */
  async cell(session: string, variables: Record<string, Uint8Array | string>): Promise<Checkpoint> {
    const cell = this.store.beginCell(session, "exec", Object.keys(variables).join(", "));
    const result = { status: "ok", duration: 1, output: "", error: null, dropped: 0, images: [] } as const;
    const ended = this.store.endCell(session, cell, { ...result, images: [] });
    const committed = (async () => this.states.commit(session, cell, this.send(session, variables), {}))();
    return (await Promise.all([committed, ended]))[0];
  }

  /** Runs a cell that leaves everything as it is. */
  async idleCell(session: string): Promise<Checkpoint> {
    const cell = this.store.beginCell(session, "exec", "1 + 1");
    return this.states.repeat(session, cell, {});
  }

  send(session: string, variables: Record<string, Uint8Array | string>): Manifest {
    const groups = Object.entries(variables).map(([variable, value]) => {
      const group = covariable(variable, Buffer.from(value));
      this.states.addChunk(session, group.header[0]!, Buffer.from(`header of ${variable}`));
      this.states.addChunk(session, group.buffers[0]![0]!, Buffer.from(value));
      return group;
    });
    return { groups, members: groups.map(({ digest }) => digest), lost: {}, tokens: {}, versions: {} };
  }

  /** What a kernel would read: variables with their bytes, and those that are lost. */
  async restore(checkpoint: Checkpoint): Promise<{ values: Record<string, string>; lost: string[] }> {
    const smallFile = join(this.directory, "small");
    rmSync(smallFile, { force: true });
    const { members, lost, files } = await this.states.plan(checkpoint, smallFile);
    const values: Record<string, string> = {};
    for (const { names, at } of members) {
      const parts = at.buffers[0]!.map(([file, offset, length]) =>
        readFileSync(files[file]!).subarray(offset, offset + length),
      );
      values[names[0]!] = name(Buffer.concat(parts));
    }
    return { values, lost: Object.keys(lost) };
  }

  [Symbol.dispose](): void {
    this.store[Symbol.dispose]();
    this.lease[Symbol.dispose]();
    if (this.#own) rmSync(this.directory, { recursive: true, force: true });
  }
}

export function covariable(variable: string, value: Uint8Array): Covariable {
  const header = name(`header of ${variable}`);
  const buffer = name(value);
  return {
    digest: `${variable}:${buffer}`,
    names: [variable],
    header: [header],
    buffers: [[buffer]],
    mentions: [],
    bytes: value.length,
  };
}
