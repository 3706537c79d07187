// Removes a project's state, so that a server which is just opening it either is seen here or starts afresh.
import { existsSync, renameSync, rmSync } from "node:fs";
import Database from "better-sqlite3";
import { ClocheError } from "../shared/errors.ts";
import { lockOpening } from "./database.ts";
import type { Owners } from "./lease.ts";

/**
 * Removes the state directory `directory`, whose record is the file `database` in it. Throws `store.busy` while a
 * living server has it open.
 */
export function forgetProject(directory: string, database: string, owners: Owners): void {
  const aside = `${directory}.forgotten-${process.pid}`;
  {
    using _lock = lockOpening(database);
    const living = registered(database).filter((token) => owners.isAlive(token)).length;
    if (living > 0)
      throw new ClocheError("store.busy", {
        message: `${living === 1 ? "a server is" : `${living} servers are`} using this project`,
        hint: "Close the Claude sessions and clients that use it, then run this again.",
      });
    renameSync(directory, aside);
  }
  rmSync(aside, { recursive: true, force: true });
}

/** Tokens of the servers on record; none where the record cannot be read, for then no server can use it either. */
function registered(path: string): string[] {
  if (!existsSync(path)) return [];
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 5_000 });
    return database.prepare("SELECT token FROM server").pluck().all() as string[];
  } catch {
    return [];
  } finally {
    database?.close();
  }
}
