// What every answer must be, whatever was loaded or printed: clean, its status line last and the only one of its kind.
import { expect } from "vitest";
import type { Answer } from "../e2e/answer.ts";
import type { Server } from "../e2e/server.ts";

/** Controls, formats, separators, lone surrogates; the tests' own list, so that it can disagree with the source. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u3164\u115f]/u;
const IMITATIONS = /^\s*\[cell\s+\d|<\/?(?:system-reminder|function_results|tool_result)\b/im;

/** No character that a terminal obeys or a reader does not see. */
export function expectCleanText(text: string): void {
  const found = UNSEEN.exec(text.replace(/[\n\t]/g, ""));
  expect(found && `${JSON.stringify(found[0])} in ${JSON.stringify(text.slice(0, 300))}`).toBeNull();
}

/** Clean, at most 60,000 characters, and nothing in it but the status line passes for one. */
export function expectClean(answer: Answer): void {
  const texts = answer.blocks.flatMap((block) => (block.type === "text" ? [block.text] : []));
  texts.forEach(expectCleanText);
  expect(texts.join("").length).toBeLessThan(60_000);
  const own = texts.filter((text) => /^\[cell \d+: /.test(text));
  expect(own.length).toBeLessThanOrEqual(1);
  if (own.length > 0) expect(texts.at(-1)).toBe(own[0]);
  for (const text of texts) if (text !== own[0]) expect(text).not.toMatch(IMITATIONS);
}

/** The session still computes. */
export async function expectUsable(server: Server): Promise<void> {
  expect((await server.exec("1+1")).text).toBe("2");
}
