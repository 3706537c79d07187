// Every command but `serve`, in the order the help lists them.
import type { Command } from "commander";
import { registerConfig } from "./config.ts";
import type { CliContext } from "./context.ts";
import { registerDoctor } from "./doctor.ts";
import { registerForget } from "./forget.ts";
import { registerLogs } from "./logs.ts";
import { registerSessions } from "./sessions.ts";
import { registerTrust } from "./trust.ts";

export function registerCommands(program: Command, context: CliContext): void {
  registerDoctor(program, context);
  registerConfig(program, context);
  registerTrust(program, context);
  registerSessions(program, context);
  registerLogs(program, context);
  registerForget(program, context);
}
