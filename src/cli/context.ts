// What the commands need from the outside: settings, the record, the sandboxes and the person's terminal.
import type { Config, ConfigOptions } from "../config/config.ts";
import type { Sandbox } from "../sandboxes/sandbox.ts";
import type { Space } from "../snapshots/space.ts";
import type { SqliteStore } from "../snapshots/sqlite.ts";
import type { Store } from "../snapshots/store.ts";

export interface CliContext {
  resolveConfig(options: ConfigOptions): Config;
  /** Opens the project's record, which exists, as somebody who looks: no server. The caller disposes of it. */
  openStore(config: Config): Store;
  /** Opens it for whoever frees space in it, also beside living servers and on a full disk. The caller disposes of it. */
  openCleaner(config: Config): Cleaner;
  /** Removes the project's state. Throws `store.busy` while a living server uses it. */
  forget(config: Config): void;
  /** In the order they are tried. */
  sandboxes(config: Config): Promise<Sandbox[]>;
  terminal: Terminal;
}

export interface Cleaner extends Disposable {
  readonly store: SqliteStore;
  readonly space: Space;
  /** Checks every large piece of every state, and takes what is damaged out of use; returns how many that were. */
  check(): Promise<number>;
}

export interface Terminal {
  /** to stdout, with a line end */
  print(text: string): void;
  /** to stderr, with a line end */
  complain(text: string): void;
  /** The person's answer; undefined where nobody can be asked. */
  confirm(question: string): Promise<boolean | undefined>;
  /** Ends the command with this code once it is through. */
  exitWith(code: number): void;
  /** fires when the person wants a following command to end */
  readonly interrupted?: AbortSignal;
}

/** Every command that concerns a project takes it. */
export const PROJECT_OPTION = [
  "--project <directory>",
  "the project (default: CLAUDE_PROJECT_DIR, else the current directory)",
] as const;
export const JSON_OPTION = ["--json", "as JSON, for programs"] as const;
