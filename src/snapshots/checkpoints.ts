// What a session held after a cell, as the store keeps it and a restore asks for it. Bytes are opaque here: what is in
// them only the sandbox ever reads.

/** Variables taken down together. `header` and `buffers` are names of chunks. */
export interface Covariable {
  digest: string;
  names: string[];
  header: string[];
  buffers: string[][];
  /** names that its functions speak of; null where they can reach anything */
  mentions: string[] | null;
  /** `bytes` before they were cut into chunks */
  bytes: number;
}

/** A variable that could not be kept. */
export interface Lost {
  type: string;
  reason: string;
  /** the cell after which that was found */
  cell: number;
}

/** Files that were loaded: name below /data → name of the kept file. */
export type LoadedFiles = Record<string, string>;

/** What the kernel says of its state after a cell. */
export interface Manifest {
  /** groups that are new */
  groups: Covariable[];
  /** digests of all groups */
  members: string[];
  lost: Record<string, Lost>;
  /** variable → name of this very loss, so that a live value which is still the same stays */
  tokens: Record<string, string>;
  versions: Record<string, string>;
}

export interface Checkpoint {
  id: number;
  session: string;
  parent: number | null;
  cell: number;
  /** milliseconds since the epoch */
  at: number;
  members: string[];
  lost: Record<string, Lost>;
  tokens: Record<string, string>;
  versions: Record<string, string>;
  data: LoadedFiles;
}

/** Where bytes lie: [index into files, offset, length], in `bytes`. */
export type Piece = [file: number, offset: number, length: number];

/** What the kernel is asked to make of itself. */
export interface RestoreRequest {
  members: (Covariable & { at: { header: Piece[]; buffers: Piece[][] } })[];
  /** digests of members that the kernel should have as they are to be */
  held: string[];
  lost: Record<string, Lost>;
  tokens: Record<string, string>;
  /** files on the host: packs, and one of small chunks that is made for this */
  files: string[];
}

export interface CheckpointStore {
  /** Keeps a chunk until the manifest that names it is committed. Throws `store.full`. */
  addChunk(session: string, name: string, data: Uint8Array): void;
  /** Makes a manifest and its chunks durable, as child of the head, and the head. Throws `store.*`; then nothing is kept. */
  commit(session: string, cell: number, manifest: Manifest, data: LoadedFiles): Promise<Checkpoint>;
  /**
   * The state after `cell` is still the one that was committed last. Throws `store.*`, and `wire.violation` where that
   * was not kept.
   */
  repeat(session: string, cell: number, data: LoadedFiles): Promise<Checkpoint>;
  /** Drops chunks of a manifest that never came. */
  abandon(session: string): void;
  head(session: string): Checkpoint | undefined;
  /** The state after `cell`; `undefined` where it was not kept. Throws `store.damaged`. */
  after(session: string, cell: number): Checkpoint | undefined;
  /** When the state after `cell` was given up to free space, in milliseconds since the epoch. */
  prunedAt(session: string, cell: number): number | undefined;
  /** Makes `checkpoint` the state the session is in; null empties it. */
  moveHead(session: string, checkpoint: Checkpoint | null): void;
  /** Makes what `checkpoint` holds the first state of another session. */
  fork(checkpoint: Checkpoint, session: string): Checkpoint;
  /**
   * Where everything of a checkpoint lies but for the groups in `held`, which the kernel has; small chunks are written to
   * `smallFile`. What is damaged is in `lost`, and a notice says so.
   */
  plan(checkpoint: Checkpoint, smallFile: string, held?: ReadonlySet<string>): Promise<RestoreRequest>;
  /** Sentences for the session's next answer, each once: damage that was found, a disk cap that is near. */
  takeNotices(session: string): string[];
  /** `bytes` of what is kept for a session; what it shares with a fork counts for both. */
  bytes(session: string): number;
}
