// What came back of a tool call, taken apart for looking at.

type Block = { type: "text"; text: string } | { type: "image"; data: string; mimeType: string };

export interface Answer {
  blocks: Block[];
  /** every text block but the code and the status line, a line break between two */
  text: string;
  /** of a cell that is followed, what it ran: `In [3]: …`; empty elsewhere */
  code: string;
  /** the last line of a cell's answer: `[cell 3: ok, 12 ms]` */
  status: string;
  /** number in the status line; 0 where there is none */
  cell: number;
  images: { mime: string; bytes: Buffer }[];
  isError: boolean;
}

export function toAnswer(result: {
  content: Block[];
  isError?: boolean;
  structuredContent?: unknown;
}): Answer {
  if (result.structuredContent !== undefined) throw new Error("an answer with structuredContent");
  const texts = result.content.flatMap((block) => (block.type === "text" ? [block.text] : []));
  const code = /^In \[\d+\]: /.test(texts[0] ?? "") ? texts[0]! : "";
  const status = texts.findLast((text) => /^\[cell \d+: /.test(text)) ?? "";
  return {
    blocks: result.content,
    text: texts.filter((text) => text !== status && text !== code).join("\n"),
    code,
    status,
    cell: Number(/^\[cell (\d+)/.exec(status)?.[1] ?? 0),
    images: result.content.flatMap((block) =>
      block.type === "image" ? [{ mime: block.mimeType, bytes: Buffer.from(block.data, "base64") }] : [],
    ),
    isError: result.isError === true,
  };
}

/** Width and height of a PNG. Throws for bytes that are none. */
export function pngSize(bytes: Buffer): { width: number; height: number } {
  const signature = Buffer.from("89504e470d0a1a0a", "hex");
  if (!bytes.subarray(0, 8).equals(signature)) throw new Error("not a PNG");
  return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
}
