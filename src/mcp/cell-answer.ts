// A cell as the model reads it: head and tail or a page of its output, images in their place, a status line at the end.
import { type CellView, HOST_LINE } from "../session/cell.ts";
import { cleanText } from "../session/clean-text.ts";
import { asNote, withoutImitations } from "./imitations.ts";

export type ContentBlock = { type: "text"; text: string } | { type: "image"; data: string; mimeType: string };

export interface CellShown {
  view: CellView;
  /** also say, in brief, what it ran: whoever follows a cell may not have seen it begin */
  showCode?: boolean;
  /** characters of output to skip: a page instead of head and tail */
  offset?: number | undefined;
  maxChars: number;
}

/** Lines that the host added to a cell's text. */
const HOST_LINES = new RegExp(`${HOST_LINE}(.*)`, "g");
/** Of a followed cell's code: lines, and characters of each. */
const CODE_LINES = 4;
const CODE_WIDTH = 120;

/** What the user's own code raised is a result; a load has no such code, so its failure is one. */
export function hasFailed({ kind, status, refused }: CellView): boolean {
  return refused !== undefined || (kind === "load" && status === "error");
}

/** The blocks of a cell: its output with images in place, what it raised, the status line. */
export function renderCell({ view, showCode, offset, maxChars }: CellShown): ContentBlock[] {
  const error = view.error ?? "";
  const room = Math.floor(maxChars - Math.min(error.length, maxChars / 2));
  const parts = window(view.text, offset, room, view.cell);
  // Pages are put together again by whoever reads them, so what is one keeps its line breaks.
  const push = offset !== undefined || parts.length > 1 ? pushExactly : pushText;
  const blocks: ContentBlock[] = [];
  if (showCode) pushText(blocks, codeLines(view));
  let next = 0;
  for (const part of parts) {
    if (part.gap) {
      blocks.push({ type: "text", text: part.gap });
      continue;
    }
    let from = part.from;
    for (; next < view.images.length && view.images[next]!.at <= part.to; next++) {
      const image = view.images[next]!;
      if (offset !== undefined && image.at < from) continue; // It is on an earlier page.
      push(blocks, view.text.slice(from, Math.max(from, image.at)));
      from = Math.max(from, image.at);
      blocks.push({ type: "image", data: image.data.toString("base64"), mimeType: image.mime });
    }
    push(blocks, view.text.slice(from, part.to));
  }
  if (view.status === "lost" && error) blocks.push({ type: "text", text: asNote(error) });
  else if (error)
    pushText(blocks, error.length > maxChars / 2 ? `${error.slice(0, maxChars / 2)}\n… cut …` : error);
  blocks.push({ type: "text", text: statusLine(view, offset ?? 0, parts.at(-1)!.to) });
  return blocks;
}

/** The parts of the text to show: a page from `offset`, or head and tail around what is left out. */
function window(text: string, offset: number | undefined, room: number, cell: number) {
  const whole = { from: 0, to: text.length, gap: "" };
  if (offset === undefined) {
    if (text.length <= room) return [whole];
    const head = Math.floor(room * 0.6);
    const tail = room - head;
    const left = text.length - room;
    return [
      { from: 0, to: head, gap: "" },
      {
        from: 0,
        to: 0,
        gap: `… ${count(left)} characters left out: exec {cell: ${cell}, offset: ${head}} …`,
      },
      { from: text.length - tail, to: text.length, gap: "" },
    ];
  }
  const to = Math.min(text.length, offset + room);
  const left = text.length - to;
  const parts = [{ from: Math.min(offset, text.length), to, gap: "" }];
  if (left > 0)
    parts.push({
      from: 0,
      to: 0,
      gap: `… ${count(left)} more characters: exec {cell: ${cell}, offset: ${to}}`,
    });
  else if (offset > text.length)
    parts.push({ from: 0, to: 0, gap: `The output has only ${count(text.length)} characters.` });
  return parts;
}

/** The first lines of a cell's code, as a notebook shows them. */
function codeLines({ cell, code }: CellView): string {
  const lines = cleanText(code.trim()).split("\n");
  const shown = lines
    .slice(0, CODE_LINES)
    .map((line) => (line.length > CODE_WIDTH ? `${line.slice(0, CODE_WIDTH)}…` : line));
  if (lines.length > CODE_LINES) shown.push(`… ${count(lines.length - CODE_LINES)} more lines`);
  const prompt = `In [${cell}]: `;
  return prompt + shown.join(`\n${"...: ".padStart(prompt.length)}`);
}

/** `offset` and `shown` are where the text of this answer begins and ends. */
function statusLine(view: CellView, offset: number, shown: number): string {
  const facts: string[] = [view.status];
  if (view.status === "lost" && view.duration === 0)
    return `[cell ${view.cell}: lost, its server ended while it ran]`;
  const running = view.status === "running";
  if (!view.text && view.images.length === 0 && !view.error && !running) facts.push("no output");
  else if (offset > 0 && offset === view.text.length && !running) facts.push("no further output");
  facts.push(duration(view.duration));
  if (view.dropped > 0) facts.push(`${count(view.dropped)} bytes of output dropped`);
  if (view.imagesLeftOut > 0) facts.push(`${view.imagesLeftOut} more images not shown`);
  const unkept = view.unkept ? `. Not kept when the session is saved: ${view.unkept.join("; ")}.` : "";
  let line = `[cell ${view.cell}: ${facts.join(", ")}${unkept}]`;
  if (running) {
    const where = view.line ? ` It is at ${view.line}.` : "";
    const next = Math.min(shown, view.settled);
    const from = next > 0 ? `, offset: ${next}` : "";
    line += `${where} Follow it with exec {cell: ${view.cell}${from}}, stop it with exec {cell: ${view.cell}, stop: true}.`;
  }
  return line;
}

function pushText(blocks: ContentBlock[], text: string): void {
  pushExactly(blocks, text.replace(/^\n+|\n+$/g, ""));
}

function pushExactly(blocks: ContentBlock[], text: string): void {
  if (!text) return;
  blocks.push({
    type: "text",
    text: withoutImitations(text).replace(HOST_LINES, (_, line) => `[cloche: ${line}]`),
  });
}

function duration(ms: number): string {
  if (ms < 1_000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return ms < 120_000
    ? `${(ms / 1_000).toFixed(1)} s`
    : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
}

function count(number: number): string {
  return number.toLocaleString("en-US");
}
