// Chunks that a kernel sent and that no state on disk names yet.

export interface PendingChunk {
  name: string;
  sha256: Buffer;
  size: number;
  pack: number | null;
  start: number | null;
  data: Uint8Array | null;
}

/** The chunks of one state, by name. */
export type Pending = Map<string, PendingChunk>;

export class PendingChunks {
  readonly #coming = new Map<string, Pending>();
  /** those of states whose commit has begun */
  readonly #writing = new Map<string, Set<Pending>>();

  /** Chunks of the session's next state, to add to. */
  of(session: string): Pending {
    let pending = this.#coming.get(session);
    if (!pending) {
      pending = new Map();
      this.#coming.set(session, pending);
    }
    return pending;
  }

  /** The next state is complete: what comes from now on belongs to another. `written` when its commit is over. */
  take(session: string): Pending {
    const taken = this.of(session);
    this.#coming.delete(session);
    const writing = this.#writing.get(session) ?? new Set();
    this.#writing.set(session, writing.add(taken));
    return taken;
  }

  written(session: string, taken: Pending): void {
    this.#writing.get(session)?.delete(taken);
  }

  /** The session's next state does not come. */
  abandon(session: string): void {
    this.#coming.delete(session);
  }

  /** Does a state that is on its way, other than `but`, name something in this pack? */
  expects(session: string, pack: number, but?: Pending): boolean {
    const coming = [this.#coming.get(session), ...(this.#writing.get(session) ?? [])];
    return coming.some(
      (pending) => pending && pending !== but && [...pending.values()].some((chunk) => chunk.pack === pack),
    );
  }
}
