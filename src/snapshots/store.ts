// The project's durable record: sessions and who holds them, cells and their outputs. Checkpoints join it here.
// One store serves one project; several servers may have it open at once.

import type { History } from "./history.ts";

export interface SessionRecord {
  /** random id; the only thing about a session that ever names a file */
  id: string;
  name: string;
  /** cell number the next cell gets; never reused */
  nextCell: number;
  /** owner token of the server that holds it, or null */
  holder: string | null;
  /** milliseconds since the epoch */
  createdAt: number;
  lastUsedAt: number;
  /** the last kernel of this session ran at least one cell */
  hadState: boolean;
}

export type CellKind = "exec" | "load";
export type CellStatus = "running" | "ok" | "error" | "interrupted" | "lost";

export interface CellRecord {
  session: string;
  cell: number;
  kind: CellKind;
  code: string;
  status: CellStatus;
  startedAt: number;
  /** `milliseconds`, once it ended */
  duration: number | null;
  /** text of the output as kept: at most 1 MB, with the gap marked */
  output: string;
  /** what it raised, or why it was lost */
  error: string | null;
  /** `bytes` of output that were dropped from the middle */
  dropped: number;
}

export interface CellImage {
  mime: string;
  data: Buffer;
  /** characters of the output before it */
  at: number;
}

/** What is kept of a cell that ended. */
export interface CellResult {
  status: CellStatus;
  /** `milliseconds` */
  duration: number;
  output: string;
  error: string | null;
  dropped: number;
  images: CellImage[];
}

/** What `claim` found. */
export interface Claim {
  session: SessionRecord;
  /** the name asked for is held by a living server, so a session of another name was given */
  displaced: boolean;
  /** a holder that is no longer alive lost it to this server, or this server's own earlier life did */
  inherited: boolean;
}

export interface Store extends Disposable {
  /**
   * The session `name` for this server, creating it when it is new. Where a living server holds it, the first of
   * `name-2`, `name-3`… that is free, already this server's, or held by the dead. One transaction: two servers
   * never get the same.
   */
  claim(name: string, holder: string): Claim;
  /** Gives up a session; its record stays. */
  release(session: string, holder: string): void;
  /**
   * Deletes the session `name` with its cells, outputs and images, so that nothing of them is left in the file. Throws
   * `input.invalid` where there is none, and `store.busy` while a living server holds it.
   */
  remove(name: string): void;
  sessions(): SessionRecord[];
  /** Is the server behind this owner token alive? */
  isAlive(holder: string): boolean;
  /** Journals a cell before it runs, and returns its number. */
  beginCell(session: string, kind: CellKind, code: string): number;
  /** Notes that a cell which was journaled begins in the state after `base`, where the session was brought back first. */
  beganIn(session: string, cell: number, base: number): void;
  /** Keeps output so far, while the cell runs. */
  saveOutput(session: string, cell: number, output: string, dropped: number): void;
  /** Keeps how a cell ended, in one transaction. */
  endCell(session: string, cell: number, result: CellResult): Promise<void>;
  cell(session: string, cell: number): CellRecord | undefined;
  /** The latest cell number, or 0. */
  lastCell(session: string): number;
  images(session: string, cell: number): CellImage[];
  /** What is on record of a session's past. */
  history(session: string): History;
  /** What ran after cell `kept` and is not in the state after it, in words; empty where nothing did. */
  lostSince(session: string, kept: number, running: number | undefined): string;
  /** Marks a session's kernel as fresh: nothing of earlier cells is in it. Cells left `running` become `lost`. */
  markEmpty(session: string): CellRecord[];
}
