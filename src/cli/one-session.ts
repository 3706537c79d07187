// Finds the session that a command names in the project's record.
import { existsSync } from "node:fs";
import type { Config } from "../config/config.ts";
import { ClocheError } from "../shared/errors.ts";
import type { SessionRecord, Store } from "../snapshots/store.ts";
import type { CliContext } from "./context.ts";

/** The configuration of the project that these options name. */
export function configOf({ project }: { project?: string }, context: CliContext): Config {
  return context.resolveConfig({ ...(project === undefined ? {} : { project }), mayBeBroken: true });
}

/** Opens the record for `name`; the caller disposes of it. Throws `input.invalid` where there is no such session. */
export function openSession(
  config: Config,
  name: string,
  context: CliContext,
): { store: Store; session: SessionRecord } {
  if (!existsSync(config.paths.database)) throw unknown(config, name);
  const store = context.openStore(config);
  try {
    return { store, session: findSession(config, store, name) };
  } catch (error) {
    store[Symbol.dispose]();
    throw error;
  }
}

export function findSession(config: Config, store: Store, name: string): SessionRecord {
  const found = store.sessions().find((session) => session.name === name);
  if (!found) throw unknown(config, name);
  return found;
}

function unknown({ project }: Config, name: string): ClocheError {
  return new ClocheError("input.invalid", {
    message: `${project} has no session ${name}`,
    hint: "`cloche sessions` lists them.",
  });
}
