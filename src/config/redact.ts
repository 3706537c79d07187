// What never reaches a log: values of secret variables and fields, passwords in addresses, and what users ran or saw.
import { ClocheError } from "../shared/errors.ts";
import type { Environment } from "./surroundings.ts";

const SECRET_NAME = /key|token|secret|password|passphrase|credential|authorization|cookie/i;
/** Shorter values are too likely to be part of ordinary words. */
const SHORTEST_SECRET = 8;
/** Fields that hold what a user wrote or a cell printed: only their length is logged. */
const PRIVATE_FIELDS = new Set(["code", "output", "stdout", "text", "payload", "content", "source"]);
/** An error code or status word rather than somebody's code. */
const PLAIN_WORD = /^[A-Za-z][A-Za-z0-9]*([._-][A-Za-z0-9]+)*$/;
/** Longest string in a line, in characters. */
const LONGEST = 4_096;
const DEEPEST = 6;
/** Values in a line, counted through every level. */
const MOST_VALUES = 200;

export type Redact = (fields: Record<string, unknown>) => Record<string, unknown>;

/** A function that makes log fields safe to write: plain JSON data, bounded in length and depth. */
export function redactor(env: Environment): Redact {
  const secrets = Object.entries(env)
    .filter(([name, value]) => SECRET_NAME.test(name) && (value?.length ?? 0) >= SHORTEST_SECRET)
    .map(([, value]) => value as string)
    .sort((a, b) => b.length - a.length);
  const pattern = secrets.length > 0 ? new RegExp(secrets.map(escapePattern).join("|"), "g") : undefined;

  const clean = (text: string) => {
    const shown = (pattern ? text.replace(pattern, "[redacted]") : text).replace(
      /(\w+:\/\/[^\s:/@]*):[^\s/@]+@/g,
      "$1:[redacted]@",
    );
    return shown.length > LONGEST ? `${shown.slice(0, LONGEST)}… [${shown.length - LONGEST} more]` : shown;
  };

  let left = 0;
  const walk = (value: unknown, name: string, depth: number): unknown => {
    left -= 1;
    if (left < 0) return "[more]";
    if (value === null || value === undefined || typeof value === "boolean") return value;
    if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
    if (SECRET_NAME.test(name) && !/^(keys?|tokens)$/i.test(name)) return "[redacted]";
    if (typeof value === "string") {
      if (PRIVATE_FIELDS.has(name) && !(PLAIN_WORD.test(value) && value.length <= 64))
        return `[${value.length} characters]`;
      return clean(value);
    }
    if (depth >= DEEPEST) return "[deeper]";
    if (value instanceof Error) return walk(describe(value), name, depth + 1);
    if (value instanceof Date) return String(value);
    if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
    if (Array.isArray(value))
      return value.slice(0, Math.max(0, left)).map((item) => walk(item, name, depth + 1));
    if (typeof value === "object")
      return Object.fromEntries(
        Object.entries(value)
          .slice(0, Math.max(0, left))
          .map(([key, inner]) => [key, walk(inner, key, depth + 1)]),
      );
    return clean(String(value));
  };
  return (fields) => {
    left = MOST_VALUES;
    return walk(fields, "", 0) as Record<string, unknown>;
  };
}

function describe(error: Error): Record<string, unknown> {
  return {
    name: error.name,
    message: error.message,
    ...(error instanceof ClocheError ? { code: error.code, data: error.data } : {}),
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: error.cause }),
  };
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
