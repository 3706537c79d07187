// A program that has a SQLite database open and moves money in it without pause: argv is path, journal mode and
// "idle", "busy", "locked" or "die". Every committed state has the same sum. Says "ready" once it is at it.
import { randomInt } from "node:crypto";
import Database from "better-sqlite3";

const [path = "", journal = "delete", manner = "busy"] = process.argv.slice(2);
const database = new Database(path, { timeout: 20_000 });
database.pragma(`journal_mode = ${journal}`);
database.pragma("wal_autocheckpoint = 50");
const move = database.transaction(() => {
  const [from, to] = [randomInt(2000), randomInt(2000)];
  database.prepare("update accounts set balance = balance - 5 where id = ?").run(from);
  database.prepare("update accounts set balance = balance + 5 where id = ?").run(to);
});
for (let i = 0; i < 20; i++) move();

if (manner === "locked") {
  database.pragma("locking_mode = exclusive");
  database.exec("begin exclusive");
}
if (manner === "die") {
  // Large enough to spill half a transaction into the file, so that the journal is needed to undo it.
  database.pragma("cache_size = 10");
  database.pragma("cache_spill = 1");
  if (journal === "delete") {
    database.exec("begin");
    database.exec("update accounts set balance = 0, padding = zeroblob(900)");
  }
  process.kill(process.pid, "SIGKILL");
}
console.log("ready");
if (manner === "busy") setInterval(() => move(), 1);
else setInterval(() => {}, 1000);
