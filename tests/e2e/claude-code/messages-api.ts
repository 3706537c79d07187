// A Messages API on loopback whose model follows a script: it reads the tools it is offered and the results it gets, and
// answers as the real one streams. Enough of it for Claude Code to work a conversation through.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface ToolDefinition {
  name: string;
  description: string;
  input_schema: { properties: Record<string, unknown> };
}

export interface ToolUse {
  name: string;
  input: Record<string, unknown>;
}

type ResultBlock =
  | { type: "text"; text: string }
  | { type: "image"; source: { type: "base64"; media_type: string; data: string } };

/** What the model would see of a tool's answer. */
export interface ToolResult {
  blocks: ResultBlock[];
  text: string;
  isError: boolean;
}

/** Yields tool uses, is resumed with their results, and returns the last word. Run anew for every request. */
export type Script = (tools: ToolDefinition[]) => Generator<ToolUse, string, ToolResult>;

interface Request {
  model: string;
  stream?: boolean;
  tools?: ToolDefinition[];
  messages: { role: string; content: string | Block[] }[];
}

interface Block {
  type: string;
  tool_use_id?: string;
  is_error?: boolean;
  content?: string | ResultBlock[];
}

type Reply = { type: "text"; text: string } | ({ type: "tool_use"; id: string } & ToolUse);

export class MessagesApi implements AsyncDisposable {
  /** results of the script's tool uses, as the last request had them */
  results: ToolResult[] = [];
  /** what the script itself threw */
  failure: unknown;
  private readonly script: Script;
  private readonly server: Server;
  private replies = 0;

  constructor(script: Script) {
    this.script = script;
    this.server = createServer((request, response) => {
      this.answer(request, response).catch((error) => {
        this.failure = error;
        response.writeHead(400, { "content-type": "application/json" });
        const message = String(error);
        response.end(JSON.stringify({ type: "error", error: { type: "invalid_request_error", message } }));
      });
    });
  }

  /** Starts it; resolves with its base URL. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(incoming.url ?? "/", "http://loopback").pathname;
    let text = "";
    for await (const chunk of incoming) text += chunk;
    if (path === "/v1/messages") return this.message(JSON.parse(text) as Request, response);
    const known = path === "/v1/messages/count_tokens";
    response.writeHead(known ? 200 : 404, { "content-type": "application/json" });
    response.end(known ? '{"input_tokens":1000}' : '{"type":"error","error":{"type":"not_found_error"}}');
  }

  private message(request: Request, response: ServerResponse): void {
    const reply = this.next(request);
    this.replies += 1;
    const stopReason = reply.type === "tool_use" ? "tool_use" : "end_turn";
    const message = {
      id: `msg_${this.replies}`,
      type: "message",
      role: "assistant",
      model: request.model,
      content: [] as unknown[],
      stop_reason: null as string | null,
      stop_sequence: null,
      usage: { input_tokens: 1_000, output_tokens: 1 },
    };
    if (!request.stream) {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify({ ...message, content: [reply], stop_reason: stopReason }));
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    const event = (type: string, data: object) =>
      response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
    event("message_start", { message });
    const start = reply.type === "text" ? { type: "text", text: "" } : { ...reply, input: {} };
    event("content_block_start", { index: 0, content_block: start });
    const delta =
      reply.type === "text"
        ? { type: "text_delta", text: reply.text }
        : { type: "input_json_delta", partial_json: JSON.stringify(reply.input) };
    event("content_block_delta", { index: 0, delta });
    event("content_block_stop", { index: 0 });
    const usage = { output_tokens: 50 };
    event("message_delta", { delta: { stop_reason: stopReason, stop_sequence: null }, usage });
    event("message_stop", {});
    response.end();
  }

  /** What the model says next: the script is played up to the last result it got. */
  private next({ tools = [], messages }: Request): Reply {
    // Claude Code also asks for titles and summaries, without the tools.
    if (!tools.some(({ name }) => name.startsWith("mcp__"))) return { type: "text", text: "Sales figures" };
    const results = toolResults(messages);
    const script = this.script(tools);
    let step = script.next();
    for (let index = 0; ; index++) {
      const result = results.get(identifier(index));
      if (step.done || !result) {
        this.results = [...results.values()];
        return step.done
          ? { type: "text", text: step.value }
          : { type: "tool_use", id: identifier(index), ...step.value };
      }
      step = script.next(result);
    }
  }
}

function identifier(index: number): string {
  return `toolu_${String(index).padStart(4, "0")}`;
}

function toolResults(messages: Request["messages"]): Map<string, ToolResult> {
  const blocks = messages.flatMap(({ content }) => (typeof content === "string" ? [] : content));
  return new Map(
    blocks
      .filter(({ type }) => type === "tool_result")
      .map(({ tool_use_id, is_error, content = [] }) => {
        const parts = typeof content === "string" ? [{ type: "text" as const, text: content }] : content;
        const text = parts.map((part) => (part.type === "text" ? part.text : "")).join("\n");
        return [tool_use_id ?? "", { blocks: parts, text, isError: is_error === true }];
      }),
  );
}
