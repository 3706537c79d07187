// What the client writes, cut into messages. A line that is none is refused with its reason, and the next one is read.
import { type JSONRPCMessage, parseJSONRPCMessage } from "@modelcontextprotocol/server";

/** Why a line is no message; `id` where the line tells which request it was to be. */
export interface Refusal {
  id?: string | number;
  code: number;
  message: string;
}

export interface LineListener {
  message(message: JSONRPCMessage): void;
  refused(refusal: Refusal): void;
}

// As JSON-RPC numbers them.
const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;

/** Bytes of a line's beginning and end in which its `id` is looked for. */
const EDGE_BYTES = 512;
const ID = String.raw`"id"\s*:\s*(-?\d{1,15}|"[^"\\\x00-\x1f]{0,200}")`;
/** Clients write `id` right behind the version or last; there it can be nothing but the request's own. */
const ID_FIRST = new RegExp(String.raw`^\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?${ID}\s*,`);
const ID_LAST = new RegExp(String.raw`,\s*${ID}\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$`);

export class RequestLines {
  private readonly longest: number;
  private readonly listener: LineListener;
  private held: Buffer[] = [];
  private size = 0;
  private head = "";
  private tail = Buffer.alloc(0);

  /** A line of more than `longest` bytes is refused, and of it only its edges are held. */
  constructor(longest: number, listener: LineListener) {
    this.longest = longest;
    this.listener = listener;
  }

  /** Takes bytes as they come, and tells each line that they complete. */
  take(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      this.hold(chunk.subarray(from, end));
      this.complete();
      from = end + 1;
    }
    this.hold(chunk.subarray(from));
  }

  private hold(part: Buffer): void {
    if (part.length === 0) return;
    this.size += part.length;
    this.held.push(part);
    if (this.size <= this.longest) return;
    const bytes = Buffer.concat([this.tail, ...this.held]);
    this.head ||= bytes.toString("utf8", 0, EDGE_BYTES);
    this.tail = Buffer.from(bytes.subarray(-EDGE_BYTES));
    this.held = [];
  }

  private complete(): void {
    const { head, size } = this;
    const bytes = this.held.length === 1 ? this.held[0]! : Buffer.concat(this.held);
    const tail = this.tail.toString();
    this.held = [];
    this.size = 0;
    this.head = "";
    this.tail = Buffer.alloc(0);
    if (size > this.longest) this.refuseSize(size, head, tail);
    else this.read(bytes.toString());
  }

  private refuseSize(size: number, head: string, tail: string): void {
    const found = (ID_FIRST.exec(head) ?? ID_LAST.exec(tail))?.[1];
    this.listener.refused({
      ...(found === undefined ? {} : { id: JSON.parse(found) as string | number }),
      code: INVALID_REQUEST,
      message: `The request has ${size.toLocaleString("en-US")} bytes, of ${this.longest.toLocaleString("en-US")} at most, and was not read. Put the data into a file of the project and load that by its path.`,
    });
  }

  private read(line: string): void {
    if (line.trim() === "") return;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      const message = "This line is not JSON, so it was not read. Send one JSON-RPC message a line.";
      this.listener.refused({ code: PARSE_ERROR, message });
      return;
    }
    let message: JSONRPCMessage;
    try {
      message = parseJSONRPCMessage(value);
    } catch {
      this.listener.refused({
        ...requestId(value),
        code: INVALID_REQUEST,
        message: Array.isArray(value)
          ? "Several messages in one array are not read. Send one JSON-RPC message a line."
          : "This is no JSON-RPC 2.0 message as MCP has them, so it was not read. Correct its fields and send it again.",
      });
      return;
    }
    this.listener.message(message);
  }
}

/** The id of what was meant as a request and can be answered. */
function requestId(value: unknown): { id?: string | number } {
  if (typeof value !== "object" || value === null || !("method" in value) || !("id" in value)) return {};
  const { id } = value;
  return typeof id === "string" || Number.isSafeInteger(id) ? { id: id as string | number } : {};
}
