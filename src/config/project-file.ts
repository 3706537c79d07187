// What a project's own .cloche.json may change: anything once the person trusted it, before that only narrower.
import { dirname } from "node:path";
import { printable } from "../shared/printable.ts";
import { assign, type Draft, givenSettings } from "./draft.ts";
import { isWithin, resolveRoots } from "./roots.ts";
import { lowerIsNarrower, type SettingName, type Settings, type SettingsFile } from "./settings.ts";
import { formatSize } from "./sizes.ts";

/** What the project's file asks for beyond what the person allows, and whether the person agreed. */
export interface ProjectRequest {
  /** path of the .cloche.json */
  file: string;
  /** of its content, in hex */
  sha256: string;
  trusted: boolean;
  /** one phrase each: "memory of 64 GiB, which is more than 12 GiB" */
  asks: string[];
}

/** One key that asks for more than the person allows. */
interface Widening {
  name: SettingName;
  asks: string;
}

/** Takes what `settings` may change; names what it may not in the draft's warnings. */
export function applyProject(
  draft: Draft,
  settings: SettingsFile,
  { file, sha256, trusted, home }: Omit<ProjectRequest, "asks"> & { home: string },
): ProjectRequest {
  const origin = trusted ? ".cloche.json (trusted)" : ".cloche.json";
  const { deny, ...rest }: SettingsFile = settings;
  delete rest.$schema;
  if (deny?.length) {
    draft.origins.deny = draft.origins.deny === "default" ? origin : `${draft.origins.deny} and ${origin}`;
    draft.values.deny = [...new Set([...draft.values.deny, ...deny])];
  }
  if (rest.roots) {
    const found = resolveRoots(rest.roots, file, home, dirname(file));
    rest.roots = found.roots;
    draft.warnings.push(...found.warnings);
  }
  const wider = widenings(rest, draft.values);
  for (const { name, asks } of trusted ? [] : wider) {
    draft.warnings.push(`${file} asks for ${asks}: ignored until you run \`cloche trust\` in the project.`);
    if (name === "roots") rest.roots = rest.roots?.filter((root) => isAllowed(root, draft.values.roots));
    else if (name !== "deny") delete rest[name];
  }
  assign(draft, rest, origin);
  return { file, sha256, trusted, asks: wider.map(({ asks }) => asks) };
}

/** Which keys of `settings` ask for more than `allowed`, or for something else where there is no more or less. */
function widenings(settings: SettingsFile, allowed: Settings): Widening[] {
  const found: Widening[] = [];
  for (const [name, value] of givenSettings(settings)) {
    if (name === "deny") continue;
    const now = allowed[name];
    if (name === "roots") {
      const more = (value as string[]).filter((root) => !isAllowed(root, allowed.roots));
      if (more.length > 0)
        found.push({ name, asks: `the ${more.length === 1 ? "root" : "roots"} ${more.join(", ")}` });
    } else if (lowerIsNarrower.has(name)) {
      if ((value as number) > (now as number))
        found.push({
          name,
          asks: `${name} of ${showSetting(name, value)}, which is more than ${showSetting(name, now)}`,
        });
    } else if (value !== now) {
      found.push({ name, asks: `${name} ${JSON.stringify(value)} instead of ${JSON.stringify(now)}` });
    }
  }
  return found.map(({ name, asks }) => ({ name, asks: printable(asks, 500) }));
}

function isAllowed(root: string, roots: readonly string[]): boolean {
  return roots.some((allowed) => isWithin(root, allowed));
}

/** A setting's value as a person reads it. */
export function showSetting(name: SettingName, value: unknown): string {
  if (["memory", "tmpfs", "scratch", "disk", "diskCap"].includes(name)) return formatSize(value as number);
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(", ");
  return value === "" ? "none" : String(value);
}
