// Where published files leave to: a directory of the project, later also a bucket.

export interface Artifact {
  /** absolute path or address for the reader */
  path: string;
  /** `bytes` */
  bytes: number;
}

export interface ArtifactStore {
  /**
   * Keeps `body` under `name`, a plain file name, and never replaces what is there. Reads `body` to its end, or ends it
   * early when it fails. Throws `publish.refused` for a name or size it does not take, `publish.exists` with a free
   * name, `store.full`, or the signal's reason; nothing of the file is left then.
   */
  put(name: string, body: AsyncIterable<Buffer>, signal: AbortSignal): Promise<Artifact>;
}
