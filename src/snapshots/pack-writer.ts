// The packs this server adds to: one for each session, followed by another when it is long or a fork may read it.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { Pack } from "./pack.ts";
import type { Statements } from "./statements.ts";

/** A pack that is longer than this is followed by another, so that collection frees space in steps, in `bytes`. */
const PACK_BYTES = 1024 ** 3;

interface OpenPack {
  id: number;
  file: Pack;
}

export class PackWriter implements Disposable {
  readonly #statements: Statements;
  readonly #directory: string;
  readonly #writer: string;
  readonly #current = new Map<string, OpenPack>();
  /** followed by others, and not given up yet: a state that is on its way may name what lies in them */
  readonly #retired = new Map<string, OpenPack[]>();

  /** `writer` is the token under which this server is known to be alive. */
  constructor(statements: Statements, directory: string, writer: string) {
    this.#statements = statements;
    this.#directory = directory;
    this.#writer = writer;
  }

  append(session: string, data: Uint8Array): { pack: number; start: number } {
    let open = this.#current.get(session);
    if (open && open.file.size >= PACK_BYTES) {
      this.retire(session);
      open = undefined;
    }
    open ??= this.create(session);
    this.#current.set(session, open);
    return { pack: open.id, start: open.file.append(data) };
  }

  /** A new pack that nobody else knows. */
  create(session: string): OpenPack {
    const name = `${randomBytes(8).toString("hex")}.pack`;
    // The row comes first: a file without one is a leftover that may be removed.
    const { lastInsertRowid } = this.#statements.run(
      "INSERT INTO pack (session, file, writer) VALUES (?, ?, ?)",
      session,
      name,
      this.#writer,
    );
    return { id: Number(lastInsertRowid), file: new Pack(join(this.#directory, name)) };
  }

  /** What follows goes to another pack. */
  retire(session: string): void {
    const open = this.#current.get(session);
    if (!open) return;
    this.#current.delete(session);
    this.#retired.set(session, [...(this.#retired.get(session) ?? []), open]);
  }

  /** Resolves once everything that was appended for `session` survives the loss of power. */
  async sync(session: string): Promise<void> {
    const packs = [...(this.#retired.get(session) ?? []), this.#current.get(session)];
    for (const open of packs) await open?.file.sync();
  }

  /** The session whose open pack this is. */
  ownerOf(pack: number): string | undefined {
    for (const [session, open] of this.#current) if (open.id === pack) return session;
    return undefined;
  }

  /** Gives up retired packs that nothing on its way is in. */
  seal(session: string, isExpected: (pack: number) => boolean): void {
    const retired = this.#retired.get(session);
    if (!retired) return;
    const kept = retired.filter(({ id, file }) => isExpected(id) || file.isUnsynced);
    for (const open of retired) {
      if (kept.includes(open)) continue;
      this.#statements.run("UPDATE pack SET writer = NULL WHERE id = ?", open.id);
      open.file[Symbol.dispose]();
    }
    if (kept.length > 0) this.#retired.set(session, kept);
    else this.#retired.delete(session);
  }

  [Symbol.dispose](): void {
    const open = [...this.#current.values(), ...[...this.#retired.values()].flat()];
    for (const { file } of open) file[Symbol.dispose]();
    try {
      this.#statements.run("UPDATE pack SET writer = NULL WHERE writer = ?", this.#writer);
    } catch {
      // Its token is that of a dead server soon, which says the same.
    }
    this.#current.clear();
    this.#retired.clear();
  }
}
