// Glob patterns as pure matching: `*`, `?`, `[a-z]`, `[!a]`, `**`, `{a,b}` and `\` before a character.
// Matching is linear in pattern times name, because a pattern may come from anyone; no regular expressions.
import { ClocheError } from "../shared/errors.ts";

/** Alternatives that braces may expand to: more is a mistake or an attack. */
const MAX_ALTERNATIVES = 256;

type Token = "star" | "any" | { char: string } | { negated: boolean; ranges: [string, string][] };

/** One path component of a pattern; `**` stands for any number of components. */
type Segment = "**" | Token[];

export interface GlobOptions {
  /** a leading dot is matched by `*` and `?` too, and `**` enters hidden directories */
  hidden?: boolean;
}

/** Does `text` have characters that make it a pattern? */
export function isPattern(text: string): boolean {
  return /[*?[\]{}]/.test(text);
}

/** The patterns `{a,b}` stands for; braces without a comma, or unclosed, are literal. */
export function expandBraces(text: string): string[] {
  const done: string[] = [];
  const open = [text];
  while (open.length > 0) {
    const next = open.pop() as string;
    const brace = firstBrace(next);
    if (!brace) done.push(next);
    else {
      const [before, after] = [next.slice(0, brace.start), next.slice(brace.end + 1)];
      for (const choice of brace.choices.toReversed()) open.push(before + choice + after);
    }
    if (done.length + open.length > MAX_ALTERNATIVES)
      throw new ClocheError("input.invalid", {
        message: `the pattern has more than ${MAX_ALTERNATIVES} alternatives`,
        hint: "Use `*` instead of listing them, or give `paths`.",
      });
  }
  return done;
}

function firstBrace(text: string): { start: number; end: number; choices: string[] } | undefined {
  for (let start = 0; start < text.length; start++) {
    if (text[start] === "\\") start++;
    else if (text[start] === "{") {
      const choices = [""];
      for (let i = start + 1, depth = 0; i < text.length; i++) {
        const c = text[i] as string;
        if (depth === 0 && c === "}") {
          if (choices.length > 1) return { start, end: i, choices };
          break;
        }
        if (depth === 0 && c === ",") choices.push("");
        else choices[choices.length - 1] += c === "\\" ? c + (text[++i] ?? "") : c;
        depth += c === "{" ? 1 : c === "}" ? -1 : 0;
      }
    }
  }
  return undefined;
}

/** A pattern without braces, over the components of a relative path. */
export class Glob {
  /** a component starts with a literal dot, so hidden names may match */
  readonly namesHidden: boolean;
  private readonly segments: Segment[];
  private readonly hidden: boolean;

  constructor(pattern: string, options: GlobOptions = {}) {
    this.hidden = options.hidden ?? false;
    this.segments = pattern
      .split("/")
      .filter((part) => part !== "" && part !== ".")
      .map((part) => (part === "**" ? "**" : tokens(part)));
    this.namesHidden = this.segments.some((segment) => segment !== "**" && startsWithDot(segment));
  }

  matches(path: readonly string[]): boolean {
    return aligned(
      this.segments,
      path,
      (segment) => segment === "**",
      (name) => this.hidden || !name.startsWith("."),
      (segment, name) => segment !== "**" && matchesName(segment, name, this.hidden),
    );
  }

  /** Could a path below the directory `path` match? */
  mayContain(path: readonly string[]): boolean {
    for (const [depth, name] of path.entries()) {
      const segment = this.segments[depth];
      if (segment === "**") return true;
      if (segment === undefined || !matchesName(segment, name, this.hidden)) return false;
    }
    return path.length < this.segments.length;
  }
}

function tokens(part: string): Token[] {
  const found: Token[] = [];
  const chars = [...part];
  for (let i = 0; i < chars.length; i++) {
    const c = chars[i] as string;
    if (c === "*") found.push("star");
    else if (c === "?") found.push("any");
    else if (c === "\\" && i + 1 < chars.length) found.push({ char: chars[++i] as string });
    else if (c === "[") {
      // A bracket right after the opening one belongs to the class, as in every shell.
      const negated = chars[i + 1] === "!" || chars[i + 1] === "^";
      const first = i + (negated ? 2 : 1);
      const end = chars.indexOf("]", first + 1);
      if (end < 0) found.push({ char: c });
      else {
        found.push({ negated, ranges: ranges(chars.slice(first, end)) });
        i = end;
      }
    } else found.push({ char: c });
  }
  return found;
}

function ranges(chars: string[]): [string, string][] {
  const found: [string, string][] = [];
  for (let i = 0; i < chars.length; i++) {
    const low = chars[i] as string;
    const high = chars[i + 1] === "-" ? chars[i + 2] : undefined;
    found.push([low, high ?? low]);
    if (high !== undefined) i += 2;
  }
  return found;
}

function startsWithDot(segment: Token[]): boolean {
  const first = segment[0];
  return typeof first === "object" && "char" in first && first.char === ".";
}

function matchesName(segment: Token[], name: string, hidden: boolean): boolean {
  if (!hidden && name.startsWith(".") && !startsWithDot(segment)) return false;
  return aligned(
    segment,
    [...name],
    (token) => token === "star",
    () => true,
    (token, c) => {
      if (typeof token === "string") return token === "any";
      if ("char" in token) return token.char === c;
      return token.ranges.some(([low, high]) => low <= c && c <= high) !== token.negated;
    },
  );
}

/** Matches with backtracking to the last star only, which suffices and keeps the work bounded. */
function aligned<P, S>(
  pattern: readonly P[],
  subject: readonly S[],
  isStar: (part: P) => boolean,
  absorbs: (item: S) => boolean,
  same: (part: P, item: S) => boolean,
): boolean {
  let p = 0;
  let s = 0;
  let star = -1;
  let mark = 0;
  while (s < subject.length) {
    if (p < pattern.length && isStar(pattern[p] as P)) {
      star = p++;
      mark = s;
    } else if (p < pattern.length && same(pattern[p] as P, subject[s] as S)) {
      p++;
      s++;
    } else if (star >= 0 && absorbs(subject[mark] as S)) {
      p = star + 1;
      s = ++mark;
    } else return false;
  }
  while (p < pattern.length && isStar(pattern[p] as P)) p++;
  return p === pattern.length;
}
