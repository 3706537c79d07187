// Names of variables in a state, for people: what a cell touched, and what is damaged.
import type { Manifest } from "./checkpoints.ts";

/** Variables a cell made, changed or could not have kept. */
export function touched(cell: number, { groups, lost }: Manifest): string[] {
  const names = new Set(groups.flatMap((group) => group.names));
  for (const [name, entry] of Object.entries(lost)) if (entry.cell === cell) names.add(name);
  return [...names].filter((name) => name !== "\0process").sort();
}

/** What stands for something that is no variable begins with a NUL: "\0module m". */
export function plain(name: string): string {
  return name.startsWith("\0") ? name.slice(1) : name;
}

/** What of the state after `cell` is damaged: variables, and groups of which not even names are known. */
export function damageSentence(cell: number, names: string[], nameless: number): string {
  const variables = names.filter((name) => name !== "\0files" && name !== "\0process").map(plain);
  const parts = [
    ...(variables.length > 0 ? [`the bytes of ${variables.slice(0, 20).join(", ")}`] : []),
    ...(variables.length > 20 ? [`${variables.length - 20} more`] : []),
    ...(names.includes("\0files") ? ["the files of /workspace"] : []),
    ...(names.includes("\0process") ? ["settings such as the random state"] : []),
    ...(nameless > 0 ? [`${nameless} groups of variables whose names are lost`] : []),
  ];
  return `In the state after cell ${cell}, damaged on disk and not brought back: ${parts.join("; ")}.`;
}
