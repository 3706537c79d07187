// From what a handler says to what the model reads: notes first, then a cell, a text, or a failure.
import type { ClocheError } from "../shared/errors.ts";
import { type CellShown, type ContentBlock, hasFailed, renderCell } from "./cell-answer.ts";
import { asNote, withoutImitations } from "./imitations.ts";

export interface RenderedResult {
  content: ContentBlock[];
  isError?: true;
  [key: string]: unknown;
}

/** Characters of output in one answer: the default, and the most a client passes on whole. */
export const DEFAULT_CHARS = 20_000;
export const MAX_CHARS = 45_000;
/** Characters of notes and errors beside it. */
const ASIDE_CHARS = 4_000;

/** What a handler fills in; one place turns it into blocks. */
export class Response {
  private readonly before: string[] = [];
  private cell: CellShown | undefined;
  private body = "";
  private failure: ClocheError | undefined;

  /** A sentence ahead of everything else. */
  note(sentence: string): void {
    this.before.push(sentence);
  }

  text(text: string): void {
    this.body = text;
  }

  showCell(shown: CellShown): void {
    this.cell = shown;
  }

  fail(error: ClocheError): void {
    this.failure = error;
  }

  render(): RenderedResult {
    const notes: ContentBlock[] =
      this.before.length > 0
        ? [{ type: "text", text: this.before.map((note) => asNote(note.slice(0, ASIDE_CHARS))).join("\n") }]
        : [];
    if (this.failure)
      return {
        content: [...notes, { type: "text", text: withoutImitations(this.failure.sentence) }],
        isError: true,
      };
    if (this.cell) {
      const content = [...notes, ...renderCell(this.cell)];
      return hasFailed(this.cell.view) ? { content, isError: true } : { content };
    }
    return { content: [...notes, { type: "text", text: withoutImitations(this.body) || "(nothing)" }] };
  }
}
