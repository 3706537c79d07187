// A load in words: for the record, and while it copies.
import type { StageRequest } from "../staging/request.ts";
import type { StageProgress } from "../staging/stage.ts";

/** What a load brings, for the record. */
export function describeLoad({ path, paths, text, name }: StageRequest): string {
  const what = text === undefined ? (paths ?? [path]).join(", ") : `text of ${text.length} characters`;
  return `load ${what}${name === undefined ? "" : ` as ${name}`}`;
}

export function copied({ bytes, total }: StageProgress): string {
  const megabytes = (count: number) => Math.round(count / 1e6).toLocaleString("en-US");
  return `copied ${megabytes(bytes)} of ${megabytes(total)} MB`;
}
