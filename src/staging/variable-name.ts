// The Python variable a load binds: the caller's name where it is one, else one read off the file name.
import { ClocheError } from "../shared/errors.ts";
import { splitExtensions } from "./label.ts";

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== "");

const KEYWORDS = new Set(
  words(`False None True and as assert async await break class continue def del elif else except finally for from
    global if import in is lambda nonlocal not or pass raise return try while with yield`),
);

/** Names that a variable should not hide without being asked to: builtins, Cloche's helpers, usual imports. */
const IN_USE = new Set(
  words(`match case type _ false none true
    abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr classmethod compile complex
    copyright credits delattr dict dir display divmod enumerate eval exec exit filter float format frozenset
    get_ipython getattr globals hasattr hash help hex id input int isinstance issubclass iter len license list
    locals map max memoryview min next object oct open ord pow print property quit range repr reversed round set
    setattr slice sorted staticmethod str sum super tuple vars zip
    cloche publish sql llm_query llm_query_batched llm_map rlm_query sub_agent fetch tools
    np pd pl pa plt sns sp nx ibis duckdb numpy pandas polars pyarrow matplotlib scipy sklearn os sys re io json csv
    math random time datetime date string statistics collections itertools functools pathlib path`),
);

const LONGEST = 60;

/**
 * The variable for what lies at `path` (a file, directory or glob): `2024 sales.csv` → `sales_2024`, `class.csv` →
 * `class_data`. `given` wins; throws `input.invalid` where it is no Python identifier.
 */
export function variableName(path: string, given?: string): string {
  return given === undefined ? fromPath(path) : checked(given);
}

function checked(given: string): string {
  const name = given.normalize("NFKC");
  const refuse = (why: string): never => {
    throw new ClocheError("input.invalid", {
      message: `\`name\` ${JSON.stringify(given.slice(0, 80))} ${why}`,
      hint: `Give a Python variable name such as ${JSON.stringify(fromPath(given.slice(0, 80)))}.`,
    });
  };
  if (!/^[\p{XIDS}_][\p{XIDC}]*$/u.test(name)) refuse("is no Python identifier");
  if (KEYWORDS.has(name)) refuse("is a Python keyword");
  if (name.startsWith("__")) refuse("is reserved by Python");
  if (name.length > 100) refuse("is longer than 100 characters");
  return name;
}

function fromPath(path: string): string {
  // A component of which only pattern characters and an extension remain names nothing.
  const stem = path
    .split("/")
    .map((part) => splitExtensions(part)[0])
    .findLast((part) => !/^[\s*?.~]*$/.test(part));
  const parts = (stem ?? "")
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/gu, "")
    .normalize("NFKC")
    .toLowerCase()
    .split(/[^\p{XIDC}]+|_+/u)
    .filter((part) => part !== "");
  // Leading numbers go to the end, in their order: 2024-01 sales → sales_2024_01.
  const first = parts.findIndex((part) => /^\p{XIDS}/u.test(part));
  const ordered = first < 0 ? ["data", ...parts] : [...parts.slice(first), ...parts.slice(0, first)];
  const name = [...ordered.join("_")].slice(0, LONGEST).join("").replace(/_+$/, "");
  return IN_USE.has(name) || KEYWORDS.has(name) ? `${name}_data` : name;
}
