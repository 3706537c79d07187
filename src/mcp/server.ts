// The MCP face: tools registered from their definitions, one place that validates, answers and never throws.
import { McpServer } from "@modelcontextprotocol/server";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { INSTRUCTIONS } from "./instructions.ts";
import { Response } from "./render.ts";
import type { Tool, ToolContext } from "./tool.ts";
import { exec } from "./tools/exec.ts";
import { load } from "./tools/load.ts";
import { reset } from "./tools/reset.ts";
import { vars } from "./tools/vars.ts";

export const tools: readonly Tool[] = [exec, load, vars, reset];

/** Everything of ToolContext that does not belong to one call. */
export type ServerContext = Omit<ToolContext, "signal" | "progress">;

export interface ServerOptions {
  version: string;
  /** sentences for the first answer of this server: ignored configuration, a store that was set aside */
  notices: string[];
  /** opened by the first tool call, so that a probing client starts nothing */
  context: () => Promise<ServerContext>;
  log: Logger;
}

/** Calls under way at once; each holds its answer until the client takes it. */
const MAX_CALLS = 1_000;
/** Most characters a client should let through; answers stay below it by themselves. */
const MAX_RESULT_CHARS = 60_000;

/** A server for one connection; the protocol era is the SDK's business. */
export function createServer(options: ServerOptions): McpServer {
  const server = new McpServer(
    { name: "cloche", title: "Cloche", version: options.version },
    { instructions: INSTRUCTIONS },
  );
  let underWay = 0;
  for (const tool of tools) {
    server.registerTool(
      tool.name,
      {
        title: tool.title,
        description: tool.description,
        inputSchema: tool.schema,
        annotations: { title: tool.title, ...tool.annotations },
        _meta: {
          "anthropic/maxResultSizeChars": MAX_RESULT_CHARS,
          "anthropic/alwaysLoad": true,
          "anthropic/searchHint": tool.searchHint,
        },
      },
      async (args, { mcpReq }) => {
        const response = new Response();
        underWay += 1;
        try {
          if (underWay > MAX_CALLS)
            throw new ClocheError("session.limit", {
              message: `${MAX_CALLS} calls are under way already, so this one was not begun`,
              hint: "Wait for their answers, then call again.",
            });
          const context = await options.context();
          for (const notice of options.notices.splice(0)) response.note(notice);
          const token = mcpReq._meta?.progressToken;
          let step = 0;
          const progress = (message: string) => {
            step += 1;
            const params = { progressToken: token!, progress: step, message };
            mcpReq.notify({ method: "notifications/progress", params }).catch(() => {});
          };
          await tool.handle(
            args as never,
            { ...context, signal: mcpReq.signal, progress: token === undefined ? undefined : progress },
            response,
          );
        } catch (thrown) {
          const error = asClocheError(thrown);
          if (error.code === "internal")
            options.log.error("tool.failed", { tool: tool.name, stack: String((thrown as Error)?.stack) });
          else options.log.info("tool.refused", { tool: tool.name, code: error.code });
          response.fail(error);
        } finally {
          underWay -= 1;
        }
        return response.render();
      },
    );
  }
  return server;
}
