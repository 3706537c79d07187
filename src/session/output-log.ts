// One cell's output on the host: clean text with its images in place, at most 1 MB, head and tail kept.
import { StringDecoder } from "node:string_decoder";
import { cleanText } from "./clean-text.ts";

/** Characters kept of the beginning and of the end. */
const KEEP = 500_000;
/** Images one cell may show; the kernel sends no more, a hostile one is cut here. */
const MAX_IMAGES = 5;

export interface PlacedImage {
  mime: string;
  data: Buffer;
  /** characters of the text before it */
  at: number;
}

export interface OutputText {
  text: string;
  images: PlacedImage[];
  /** `bytes` that were dropped from the middle */
  dropped: number;
  /** its end has moved up over a gap: characters no longer stay where they were */
  gap: boolean;
}

/**
 * Collects what a kernel sends and bounds it: text beyond the head is kept as a tail of the same size, and the gap is
 * marked in place with what was dropped.
 */
export class OutputLog {
  private readonly decoder = new StringDecoder("utf8");
  private head = "";
  private tail: string[] = [];
  private tailLength = 0;
  /** `bytes` that the sandbox dropped */
  private dropped = 0;
  /** characters between head and tail that were dropped here */
  private cut = 0;
  private readonly placed = new Map<string, { at: number; mime?: string; data?: Buffer }>();
  /** the last line shown while output is held back or dropped inside */
  private progressLine = "";

  write(chunk: Buffer): void {
    this.progressLine = "";
    this.add(this.decoder.write(chunk));
  }

  /** Marks that `bytes` are missing here. */
  drop(bytes: number): void {
    this.dropped += bytes;
    this.add(this.decoder.end());
    this.add(`\n… ${count(bytes)} bytes of output dropped …\n`);
  }

  progress(line: string): void {
    this.progressLine = cleanText(line).trim();
  }

  placeImage(id: string): void {
    if (this.placed.size < MAX_IMAGES) this.placed.set(id, { at: this.length });
  }

  image(id: string, mime: string, data: Buffer): void {
    const place = this.placed.get(id);
    if (place && isImage(mime, data)) Object.assign(place, { mime, data });
  }

  /** The line that is not part of the output yet, because the next update replaces it: a progress bar. */
  get heldLine(): string {
    return this.progressLine;
  }

  /** The last line a person would see. */
  get lastLine(): string {
    if (this.progressLine) return this.progressLine;
    const text = this.tailLength > 0 ? this.tail.slice(-2).join("") : this.head.slice(-2_000);
    return cleanText(text).trimEnd().split("\n").at(-1)?.slice(0, 500) ?? "";
  }

  /** Everything as it is now. */
  snapshot(): OutputText {
    const kept = this.tail.join("").slice(-KEEP);
    const cut = this.cut + this.tailLength - kept.length;
    const placed = [...this.placed.values()];
    // Cleaning may shorten the text before an image.
    const positions = placed.map(({ at }) =>
      at <= this.head.length ? cleanText(this.head.slice(0, at)).length : -1,
    );
    const gap = cut > 0 ? `\n… ${count(cut)} characters of output dropped …\n` : "";
    const text = cleanText(this.head) + gap + cleanText(kept);
    const images = placed.flatMap(({ mime, data }, index) => {
      const at = positions[index]!;
      return mime && data ? [{ mime, data, at: at < 0 ? text.length : at }] : [];
    });
    return { text, images, dropped: this.dropped + cut, gap: cut > 0 };
  }

  private get length(): number {
    return this.head.length + this.cut + this.tailLength;
  }

  private add(text: string): void {
    if (!text) return;
    const room = KEEP - this.head.length;
    if (room > 0) this.head += text.slice(0, room);
    if (text.length <= room) return;
    this.tail.push(room > 0 ? text.slice(room) : text);
    this.tailLength += this.tail.at(-1)!.length;
    if (this.tailLength > 4 * KEEP) {
      this.cut += this.tailLength - KEEP;
      this.tail = [this.tail.join("").slice(-KEEP)];
      this.tailLength = KEEP;
    }
  }
}

function count(number: number): string {
  return number.toLocaleString("en-US");
}

/** Is it what it says? A client is given no other bytes under the name of an image. */
function isImage(mime: string, data: Buffer): boolean {
  const magic = { "image/png": "89504e470d0a1a0a", "image/jpeg": "ffd8ff" }[mime];
  return magic !== undefined && data.subarray(0, magic.length / 2).toString("hex") === magic;
}
