// `cloche serve`: MCP over stdin and stdout until the client goes away. Starts nothing before the first tool call.
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Command } from "commander";
import { type App, openApp, openLog } from "../app.ts";
import { resolveConfig } from "../config/config.ts";
import { createServer } from "../mcp/server.ts";
import { type Logger, silentLog } from "../shared/log.ts";
import { VERSION } from "../version.ts";

/**
 * Longest wait for sandboxes to end and their directories to go. A client that sends SIGKILL sooner loses nothing: the
 * sandboxes end with this process, and the next server sweeps up.
 */
const SHUTDOWN_MS = 4_000;

export function registerServe(program: Command): void {
  program
    .command("serve")
    .description("Serve MCP over stdin and stdout; a client such as Claude starts this.")
    .option(
      "--project <directory>",
      "the project whose files may be loaded (default: CLAUDE_PROJECT_DIR, else the current directory)",
    )
    .option("--sandbox <kind>", "docker, bubblewrap or auto")
    .option("--memory <size>", "memory of one session, for example 4GiB")
    .option("--cpus <number>", "processors of one session")
    .action(serve);
}

async function serve(options: {
  project?: string;
  sandbox?: string;
  memory?: string;
  cpus?: string;
}): Promise<void> {
  const notices: string[] = [];
  let log: Logger = silentLog;
  let app: Promise<App> | undefined;
  // Settings are read here too: a mistake in them is answered to every call, instead of ending the process unheard.
  const open = async () => {
    const config = resolveConfig(options);
    log = openLog(config);
    const opened = await openApp(config, log);
    notices.push(...config.warnings, ...opened.notices);
    return opened;
  };
  const context = async () => {
    app ??= open().catch((error) => {
      // What was missing may be there at the next call.
      app = undefined;
      throw error;
    });
    return { sessions: (await app).sessions };
  };
  const wiring = {
    version: VERSION,
    notices,
    context,
    get log() {
      return log;
    },
  };
  const handle = serveStdio(() => createServer(wiring), {
    onerror: (error) => log.warn("mcp.error", { message: error.message }),
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
  process.stdin.on("end", () => void end("end of input"));
  process.stdin.on("close", () => void end("end of input"));
  process.stdout.on("error", () => void end("the client is gone"));
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => void end(signal));
}
