// The page of the picture: each call as the client sent it, and below it the answer as it came back.

export interface Step {
  tool: string;
  /** arguments as they were sent */
  sent: Record<string, unknown>;
  /** blocks as they came back */
  answer: readonly { type: string; text?: string; data?: string; mimeType?: string }[];
}

const KEYWORD = /\b(import|as|from|in|for|if|else|def|return|lambda|True|False|None)\b/g;

export function pageOf(steps: readonly Step[]): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A session</title><style>${STYLE}</style></head>
<body>${steps.map(stepHtml).join("\n")}
<script>document.documentElement.dataset.height = Math.ceil(document.body.getBoundingClientRect().height)</script>
</body></html>
`;
}

function stepHtml({ tool, sent, answer }: Step): string {
  const { code, ...others } = sent;
  const given = Object.keys(others).length > 0 ? escaped(literal(others)) : "";
  const source = typeof code === "string" ? `<pre class="code">${highlight(code)}</pre>` : "";
  return `<section>
  <div class="call"><span class="tool">${escaped(tool)}</span><div class="sent"><pre>${given}</pre>${source}</div></div>
  <div class="answer">${answer.map(blockHtml).join("")}</div>
</section>`;
}

/** `{path: "trips.csv"}`: JSON as a person would type it. */
function literal(value: Record<string, unknown>): string {
  return `{${Object.entries(value)
    .map(([key, inner]) => `${key}: ${JSON.stringify(inner)}`)
    .join(", ")}}`;
}

function blockHtml({ type, text = "", data, mimeType }: Step["answer"][number]): string {
  if (type === "image") return `<img alt="" src="data:${mimeType};base64,${data}">`;
  const status = /^\[cell \d+: .*\]/.test(text);
  return `<pre${status ? ' class="status"' : ""}>${text.split("\n").map(lineHtml).join("")}</pre>`;
}

/** A line too long for the picture goes on below the start of its last column. */
function lineHtml(line: string): string {
  const indent = Math.min(40, / {2}(?=\S+( \S+)*$)/.exec(line)?.index ?? -2) + 2;
  return `<span style="padding-left: ${indent}ch; text-indent: -${indent}ch">${escaped(line)}</span>`;
}

/** Comments, strings and keywords of Python, told apart well enough for the code in the picture. */
function highlight(code: string): string {
  return code
    .split(/(#[^\n]*|"[^"\n]*")/)
    .map((part) => {
      if (part.startsWith("#")) return `<i>${escaped(part)}</i>`;
      if (part.startsWith('"')) return `<q>${escaped(part)}</q>`;
      return escaped(part).replace(KEYWORD, "<b>$1</b>");
    })
    .join("");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

const STYLE = `
:root { color-scheme: light; }
* { box-sizing: border-box; margin: 0; }
body { width: 920px; padding: 26px 30px 8px; background: #f7f6f2; color: #23281f;
  font: 13px/1.5 "JetBrains Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
section { margin-bottom: 20px; }
pre { font: inherit; font-variant-ligatures: none; white-space: pre-wrap; overflow-wrap: anywhere; }
.call { display: flex; gap: 12px; background: #e3eadb; border-radius: 8px 8px 0 0; padding: 9px 14px; }
.tool { flex: none; font-weight: 700; color: #35602c; }
.sent { min-width: 0; }
.code b { font-weight: 600; color: #35602c; }
.code q { quotes: none; color: #8a4b08; }
.code i { font-style: normal; color: #6d7566; }
.answer { background: #fff; border: 1px solid #e3eadb; border-top: 0; border-radius: 0 0 8px 8px; padding: 10px 14px; }
.answer span { display: block; min-height: 1.5em; }
.answer img { display: block; max-width: 580px; margin: 4px 0 6px -6px; }
.answer .status { color: #7b8275; }
`;
