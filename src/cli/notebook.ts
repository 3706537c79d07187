// Cells as other tools read them: a Jupyter notebook (nbformat 4.5), and a Python file with cell markers.
import type { CellImage, CellKind } from "../snapshots/store.ts";

export interface ExportedCell {
  number: number;
  kind: CellKind;
  code: string;
  output: string;
  error: string | null;
  images: CellImage[];
}

/** The text of an .ipynb file, outputs and images included. */
export function notebook(cells: readonly ExportedCell[]): string {
  const document = {
    cells: cells.map((cell) => ({
      id: `cell-${cell.number}`,
      cell_type: "code",
      execution_count: cell.number,
      metadata: {},
      outputs: outputs(cell),
      source: lines(source(cell)),
    })),
    metadata: {
      kernelspec: { display_name: "Python 3", language: "python", name: "python3" },
      language_info: { name: "python", file_extension: ".py", mimetype: "text/x-python" },
    },
    nbformat: 4,
    nbformat_minor: 5,
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}

/** The text of a .py file; what IPython adds to the language stays, for tools that know the markers run it. */
export function script(cells: readonly ExportedCell[]): string {
  return cells.map((cell) => `# %% [cell ${cell.number}]\n${source(cell).trimEnd()}\n`).join("\n");
}

/** What loads host data has no code of its own. */
function source({ kind, code }: ExportedCell): string {
  return kind === "load" ? code.replace(/^/gm, "# ") : code;
}

/** Text and images in the order they came. */
function outputs({ output, error, images }: ExportedCell): unknown[] {
  const made: unknown[] = [];
  let written = 0;
  const write = (to: number) => {
    const text = output.slice(written, to);
    if (text) made.push({ output_type: "stream", name: "stdout", text: lines(text) });
    written = Math.max(written, to);
  };
  for (const { mime, data, at } of [...images].sort((one, other) => one.at - other.at)) {
    write(at);
    made.push({ output_type: "display_data", data: { [mime]: data.toString("base64") }, metadata: {} });
  }
  write(output.length);
  if (error !== null) {
    const last = error.trimEnd().split("\n").at(-1) ?? "";
    const [, ename = "Error", evalue = last] = /^([\w.]+): ?(.*)$/.exec(last) ?? [];
    made.push({ output_type: "error", ename, evalue, traceback: error.split("\n") });
  }
  return made;
}

/** A text as nbformat keeps it: lines with their ends. */
function lines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}
