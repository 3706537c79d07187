// Finds and opens sessions by name, pauses idle ones, saves and ends them where memory is short, and ends all with the server.
import type { Kernel } from "../kernel/launch.ts";
import { ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { CheckpointStore } from "../snapshots/checkpoints.ts";
import type { SessionRecord, Store } from "../snapshots/store.ts";
import type { StagingArea } from "../staging/stage.ts";
import { Session, type SessionDoor } from "./session.ts";
import { Standby } from "./standby.ts";
import type { LoadedFilesKeeper } from "./state-keeper.ts";
import { timeline } from "./timeline.ts";

export interface ManagerOptions {
  store: Store;
  checkpoints: CheckpointStore;
  loaded: LoadedFilesKeeper;
  /** token of this server */
  owner: string;
  launch(signal?: AbortSignal): Promise<Kernel>;
  /** the area that files are loaded into, below a staging directory */
  openFiles(directory: string): StagingArea;
  /** the door for one session's host calls */
  door(session: string): SessionDoor;
  /** `milliseconds` without a call after which a session is paused */
  idlePauseMs: number;
  /** sessions this server keeps open at once */
  limit: number;
  /** `bytes` the machine can still give away */
  freeMemory(): number;
  log: Logger;
  /** told each step of what is kept and brought back, for tests that end the process there */
  step?: ((name: string) => void) | undefined;
}

/** What `vars {session: "*"}` says of one. */
export interface SessionSummary {
  name: string;
  state: string;
  cells: number;
  /** lines of cells: more than one where somebody went back and on */
  branches: number;
  /** `bytes` that are kept of its states */
  bytes: number;
  /** milliseconds since the epoch */
  lastUsedAt: number;
}

/** `bytes` a further session needs before it has computed anything, with room to start. */
const SESSION_BYTES = 256 * 1024 * 1024;
const PAUSE_CHECK_MS = 10_000;

export class SessionManager implements AsyncDisposable {
  private readonly options: ManagerOptions;
  private readonly standby: Standby;
  private readonly byName = new Map<string, Session>();
  private readonly pauseTimer: NodeJS.Timeout;
  private closed = false;

  constructor(options: ManagerOptions) {
    this.options = options;
    this.standby = new Standby(options.launch, options.log);
    const every = Math.min(PAUSE_CHECK_MS, Math.max(100, options.idlePauseMs / 4));
    this.pauseTimer = setInterval(() => this.rest(), every).unref();
  }

  /** The session of that name for this server; see Store.claim for what happens when another server holds it. */
  find(name: string): Session {
    if (this.closed) throw new ClocheError("wire.closed", { message: "the server is ending" });
    const known = this.byName.get(name);
    if (known) return known;
    this.checkRoom(name);
    const claim = this.options.store.claim(name, this.options.owner);
    const open = [...this.byName.values()].find(({ id }) => id === claim.session.id);
    const session = open ?? this.create(claim.session);
    if (claim.displaced)
      session.note(
        `Another window works on this project and holds session ${name}. This one works in ${claim.session.name}, which has its own variables.`,
      );
    // One that this server has open under another name has lost nothing.
    if (!open && claim.session.hadState) this.tellOfLoss(session, claim.session);
    this.byName.set(name, session);
    return session;
  }

  /** As `find`, for a look at what there is: a name that was never used is a mistake, not a new session. */
  findKnown(name: string): Session {
    const names = this.options.store.sessions().map((record) => record.name);
    if (name !== "main" && !this.byName.has(name) && !names.includes(name))
      throw new ClocheError("input.invalid", {
        message: `there is no session ${name}`,
        hint: names.length > 0 ? `There are: ${names.join(", ")}. exec opens a new one.` : "exec opens one.",
      });
    return this.find(name);
  }

  /**
   * Opens the state of session `from` after cell `number` as session `into`, and leaves the other alone. Throws
   * `cell.unknown`, and `input.invalid` where `into` is in use.
   */
  async fork(from: Session, number: number, into: string): Promise<Session> {
    const checkpoint = await from.stateAfter(number);
    if (this.options.store.sessions().some(({ name, nextCell }) => name === into && nextCell > 1))
      throw new ClocheError("input.invalid", {
        message: `there is a session ${into} already`,
        hint: "Name one that does not exist yet.",
      });
    const session = this.find(into);
    this.options.step?.("claimed for a fork");
    this.options.checkpoints.fork(checkpoint, session.id);
    this.options.step?.("forked");
    return session;
  }

  list(): SessionSummary[] {
    const open = new Map([...this.byName.values()].map((session) => [session.id, session]));
    return this.options.store.sessions().map((record) => {
      const mine = open.get(record.id);
      const elsewhere = record.holder !== null && this.options.store.isAlive(record.holder);
      return {
        name: record.name,
        state: elsewhere && !mine ? "held by another window" : this.stateOf(record, mine),
        cells: record.nextCell - 1,
        branches: this.branches(record.id),
        bytes: this.options.checkpoints.bytes(record.id),
        lastUsedAt: record.lastUsedAt,
      };
    });
  }

  private branches(id: string): number {
    const { cells, at } = this.options.store.history(id);
    return timeline(cells, at).branches.length;
  }

  private stateOf({ id }: SessionRecord, session: Session | undefined): string {
    if (session && session.state !== "not started") return session.state;
    if (this.options.checkpoints.head(id)) return "saved";
    return session ? "not started" : "ended";
  }

  /** A warm kernel waits for the next session. */
  get standbyReady(): boolean {
    return this.standby.isReady;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.pauseTimer);
    const sessions = new Set(this.byName.values());
    await Promise.allSettled([
      this.standby[Symbol.asyncDispose](),
      ...[...sessions].map((session) => session.close()),
    ]);
    for (const session of sessions) this.options.store.release(session.id, this.options.owner);
  }

  private create(record: SessionRecord): Session {
    const session: Session = new Session({
      record,
      store: this.options.store,
      checkpoints: this.options.checkpoints,
      loaded: this.options.loaded,
      openKernel: async (signal) => {
        await this.makeRoom(session);
        return this.standby.take(signal);
      },
      openFiles: (directory) => this.options.openFiles(directory),
      door: this.options.door(record.name),
      log: this.options.log,
      step: this.options.step,
    });
    return session;
  }

  private tellOfLoss(session: Session, record: SessionRecord): void {
    const lost = this.options.store.markEmpty(record.id);
    // What was kept comes back with the first call, which says so.
    if (this.options.checkpoints.head(record.id)) return;
    const running = lost.map(({ cell }) => cell).join(", ");
    session.note(
      `Session ${record.name} is from an earlier server that ended: its variables are gone${running ? `, and cell ${running} was running then` : ""}. The outputs of its ${record.nextCell === 2 ? "cell 1" : `cells 1 to ${record.nextCell - 1}`} can still be read with exec {cell}.`,
    );
  }

  /** A session that could not have a kernel is refused before it has a cell. */
  private checkRoom(name: string): void {
    if (this.hasRoom(this.live()) || this.idle().length > 0) return;
    throw this.noRoom(name);
  }

  /** Saves and ends idle sessions, the longest idle first, until one more kernel has its place. */
  private async makeRoom(session: Session): Promise<void> {
    while (!this.hasRoom(this.live().filter((other) => other !== session))) {
      let freed = false;
      for (const idle of this.idle())
        if (idle !== session && (await idle.shelve())) {
          freed = true;
          break;
        }
      if (!freed) throw this.noRoom(session.name);
    }
  }

  private hasRoom({ length: live }: Session[]): boolean {
    return live < this.options.limit && (live === 0 || this.options.freeMemory() >= SESSION_BYTES);
  }

  /** Sessions that have a kernel. */
  private live(): Session[] {
    return [...new Set(this.byName.values())].filter(({ state }) => state !== "not started");
  }

  private idle(): Session[] {
    return this.live()
      .filter(({ state }) => state !== "running")
      .sort((one, other) => other.idleFor - one.idleFor);
  }

  private noRoom(name: string): ClocheError {
    const full = this.live().length >= this.options.limit;
    return new ClocheError("session.limit", {
      message: full
        ? `this server runs at most ${this.options.limit} sessions at once, so ${name} was not opened`
        : `there is not enough free memory to open session ${name}`,
      hint: "Wait for a cell that runs or stop it, or raise `sessions` in the configuration.",
    });
  }

  private rest(): void {
    for (const session of this.idle()) if (session.idleFor >= this.options.idlePauseMs) session.pause();
    const [longest] = this.idle();
    if (longest?.state === "paused" && this.options.freeMemory() < SESSION_BYTES)
      void longest.shelve().catch((error: unknown) => {
        this.options.log.warn("session.unshelved", { message: String(error) });
      });
  }
}
