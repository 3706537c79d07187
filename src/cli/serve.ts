// `cloche serve`: MCP over stdin and stdout until the client goes away. Starts nothing before the first tool call.
import { setFlagsFromString } from "node:v8";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Command } from "commander";
import { type App, openApp, openLog } from "../app.ts";
import { resolveConfig } from "../config/config.ts";
import { StdioConnection } from "../mcp/connection.ts";
import { createServer } from "../mcp/server.ts";
import { within } from "../shared/async.ts";
import { asClocheError } from "../shared/errors.ts";
import { type Logger, silentLog } from "../shared/log.ts";
import { VERSION } from "../version.ts";

/**
 * Longest wait for sandboxes to end and their directories to go. A client that sends SIGKILL sooner loses nothing: the
 * sandboxes end with this process, and the next server sweeps up.
 */
const SHUTDOWN_MS = 4_000;
/** Longest wait for the sandboxes of a server whose state was removed. */
const REOPEN_MS = 10_000;
/** Characters of one protocol error in the log. */
const MAX_LOGGED = 500;

export function registerServe(program: Command, step?: (name: string) => void): void {
  program
    .command("serve")
    .description("speak MCP over stdin and stdout: what a client starts")
    .option(
      "--project <directory>",
      "the project whose files may be loaded (default: CLAUDE_PROJECT_DIR, else the current directory)",
    )
    .option("--sandbox <kind>", "docker, bubblewrap or auto")
    .option("--memory <size>", "memory of one session, for example 4GiB")
    .option("--cpus <number>", "processors of one session")
    .action((options: ServeOptions) => serve(options, step));
}

interface ServeOptions {
  project?: string;
  sandbox?: string;
  memory?: string;
  cpus?: string;
}

async function serve(options: ServeOptions, step?: (name: string) => void): Promise<void> {
  // Short-lived objects of calls would spread over 50 MB and more before anything is collected. Kept small, a server of
  // ten thousand cells takes two thirds of the memory, with pauses as short.
  setFlagsFromString("--semi-space-growth-factor=1");
  const notices: string[] = [];
  let log: Logger = silentLog;
  let app: Promise<App> | undefined;
  // Settings are read here too: a mistake in them is answered to every call, instead of ending the process unheard.
  const open = async () => {
    const config = resolveConfig(options);
    log = openLog(config);
    const opened = await openApp(config, log, step);
    notices.push(...config.warnings, ...opened.notices);
    return opened;
  };
  try {
    resolveConfig(options);
  } catch (error) {
    // The answer to the first call says it too; a person who tries the command by hand sees it at once.
    process.stderr.write(`cloche: ${asClocheError(error).sentence}\n`);
  }
  const start = (opening: Promise<App>) =>
    opening.catch((error) => {
      // What was missing may be there at the next call.
      app = undefined;
      throw error;
    });
  const reopen = async (old: App, gone: string) => {
    log.warn("state.removed", { gone });
    await within(Promise.allSettled([old[Symbol.asyncDispose]()]), REOPEN_MS);
    const opened = await openApp(old.config, log, step);
    notices.push(
      `${gone} was removed or replaced while this server ran, so what it kept was made anew: every session is empty, and earlier cells and their outputs are gone.`,
      ...opened.notices,
    );
    return opened;
  };
  const context = async () => {
    app ??= start(open());
    const asked = app;
    const opened = await asked;
    const gone = opened.missing();
    // The first call that sees it begins anew; the others find that under way.
    if (gone !== undefined && app === asked) app = start(reopen(opened, gone));
    return { sessions: (gone === undefined ? opened : await (app ?? asked)).sessions };
  };
  const wiring = {
    version: VERSION,
    notices,
    context,
    get log() {
      return log;
    },
  };
  const transport = new StdioConnection(
    process.stdin,
    process.stdout,
    () => void end("the connection closed"),
  );
  const handle = serveStdio(() => createServer(wiring), {
    transport,
    onerror: (error) => log.warn("mcp.error", { message: error.message.slice(0, MAX_LOGGED) }),
  });

  let ending: Promise<void> | undefined;
  const end = (why: string) => {
    ending ??= (async () => {
      log.info("server.ending", { why });
      setTimeout(() => process.exit(0), SHUTDOWN_MS).unref();
      const opened = await app?.catch(() => undefined);
      await Promise.allSettled([handle.close(), opened?.[Symbol.asyncDispose]()]);
      process.exit(0);
    })();
    return ending;
  };
  // Sessions that hold hours of work do not end with the server for one promise that nobody looked after.
  process.on("unhandledRejection", (reason) =>
    log.error("unhandled", { stack: String((reason as Error)?.stack ?? reason) }),
  );
  process.stdin.on("end", () => void end("end of input"));
  process.stdin.on("close", () => void end("end of input"));
  process.stdout.on("error", () => void end("the client is gone"));
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => void end(signal));
}
