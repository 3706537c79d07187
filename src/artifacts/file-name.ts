// Which names a published file may have: plain ones, and none that a program on the host runs or obeys by itself.
import { ClocheError } from "../shared/errors.ts";
import { isPrintable, printable } from "../shared/printable.ts";

/** Longest name, in `bytes`. */
const MAX_NAME_BYTES = 200;

/**
 * Files that tools pick up by their name alone. The sandbox writes what it likes into a published file, so one of
 * these would be a way for it to act on the host.
 */
const OBEYED = [
  /^(conftest|sitecustomize|usercustomize|setup)\.py$/,
  /^(claude|claude\.local|agents|gemini)\.md$/,
  /^(gnu)?makefile$/,
  /^package\.json$/,
  /\.(desktop|lnk|url|scf|code-workspace|command)$/,
  /^(autorun|desktop)\.in[fi]$/,
  /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/,
];

/** The name itself, in Unicode's composed form. Throws `publish.refused`, saying why. */
export function plainFileName(name: string): string {
  const composed = name.normalize("NFC");
  const why = objection(composed);
  if (why === undefined) return composed;
  throw new ClocheError("publish.refused", {
    message: `"${printable(name, 100)}" is no name to publish under: ${why}`,
    hint: 'Give a plain file name, such as publish("out.csv", name="report.csv").',
  });
}

function objection(name: string): string | undefined {
  if (name === "") return "it is empty";
  if (/[/\\]/.test(name)) return "it has a slash, and a file goes straight into the output directory";
  if (!isPrintable(name)) return "it has a control or invisible character";
  if (name.startsWith(".")) return "it starts with a dot, so it would be hidden";
  if (/^[-~\s]/.test(name)) return `it starts with ${JSON.stringify(name[0])}`;
  if (/[.\s]$/.test(name)) return "it ends with a dot or a space";
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `it is longer than ${MAX_NAME_BYTES} bytes`;
  const folded = name.normalize("NFKC").toLowerCase();
  if (OBEYED.some((pattern) => pattern.test(folded)))
    return "programs on the host run or obey files of that name";
  return undefined;
}

/** `report.csv` → `report-2.csv`, or the first further number that `taken` does not know. */
export async function freeName(name: string, taken: (name: string) => Promise<boolean>): Promise<string> {
  const dot = name.lastIndexOf(".");
  const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  for (let number = 2; ; number++) {
    const candidate = `${stem}-${number}${extension}`;
    if (!(await taken(candidate))) return candidate;
  }
}
