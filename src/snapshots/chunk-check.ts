// Which chunks still hold the bytes they were made of. Small ones are checked whenever they are read; large ones once
// in the life of a server, at once where that is quick and else behind. Reading and hashing go on beside the event loop,
// which serves calls meanwhile.
import { webcrypto } from "node:crypto";
import { closeSync, fstatSync, openSync, read } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Statements } from "./statements.ts";

/** A large chunk in its pack. */
export interface PackedChunk {
  pack: number;
  start: number;
  size: number;
}

/** A chunk that a kernel was given before it was checked, and the variables it is of. */
export interface Unchecked {
  chunk: PackedChunk;
  names: string[];
}

const reading = promisify(read);

export class ChunkCheck {
  readonly #statements: Statements;
  readonly #directory: string;
  /** found sound, or written by this server */
  readonly #sound = new Set<string>();
  readonly #damaged = new Set<string>();

  constructor(statements: Statements, directory: string) {
    this.#statements = statements;
    this.#directory = directory;
  }

  trust(pack: number, start: number): void {
    this.#sound.add(`${pack}:${start}`);
  }

  isTrusted({ pack, start }: PackedChunk): boolean {
    return this.#sound.has(`${pack}:${start}`);
  }

  isDamaged({ pack, start }: PackedChunk): boolean {
    return this.#damaged.has(`${pack}:${start}`);
  }

  path(pack: number): string | undefined {
    const row = this.#statements.get<{ file: string }>("SELECT file FROM pack WHERE id = ?", pack);
    return row && join(this.#directory, row.file);
  }

  /** `bytes` of the pack's file; undefined where it is missing. */
  length(pack: number): number | undefined {
    const path = this.path(pack);
    if (path === undefined) return undefined;
    try {
      const descriptor = openSync(path, "r");
      try {
        return fstatSync(descriptor).size;
      } finally {
        closeSync(descriptor);
      }
    } catch {
      return undefined;
    }
  }

  /** Reads and compares a chunk. One that was moved or freed meanwhile is nobody's, and so is sound. */
  async isSound(chunk: PackedChunk): Promise<boolean> {
    const row = this.#statements.get<{ sha256: Buffer }>(
      "SELECT sha256 FROM chunk WHERE pack = ? AND start = ? LIMIT 1",
      chunk.pack,
      chunk.start,
    );
    const path = this.path(chunk.pack);
    if (!row || path === undefined) return !row;
    let descriptor: number | undefined;
    try {
      descriptor = openSync(path, "r");
      const data = new Uint8Array(chunk.size);
      for (let done = 0; done < chunk.size; ) {
        const { bytesRead } = await reading(descriptor, data, done, chunk.size - done, chunk.start + done);
        if (bytesRead === 0) return false;
        done += bytesRead;
      }
      const sound = row.sha256.equals(new Uint8Array(await webcrypto.subtle.digest("SHA-256", data)));
      if (sound) this.trust(chunk.pack, chunk.start);
      return sound;
    } catch {
      return false;
    } finally {
      if (descriptor !== undefined) closeSync(descriptor);
    }
  }

  /** Takes out of use those that are damaged, until it `hasEnded`; resolves to the variables they are of. */
  async quarantineDamaged(chunks: readonly Unchecked[], hasEnded: () => boolean): Promise<string[]> {
    const damaged = new Set<string>();
    try {
      for (const { chunk, names } of chunks) {
        if (hasEnded()) return [];
        if (this.isTrusted(chunk) || (await this.isSound(chunk))) continue;
        if (hasEnded()) return [];
        this.quarantine(chunk);
        for (const name of names) damaged.add(name);
      }
    } catch {
      // The record was closed meanwhile.
    }
    return [...damaged];
  }

  /** Takes a chunk out of use, for every session that names it. */
  quarantine({ pack, start }: Pick<PackedChunk, "pack" | "start">): void {
    this.#sound.delete(`${pack}:${start}`);
    this.#damaged.add(`${pack}:${start}`);
    try {
      this.#statements.run("UPDATE chunk SET damaged = 1 WHERE pack = ? AND start = ?", pack, start);
    } catch {
      // On a full disk it is known here, and found again by the next server.
    }
  }
}
