// What a cell wrote, made harmless to read: no terminal escapes, no invisible or reordering characters, no NULs.

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find
const ESCAPES = /\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|\[[0-?]*[ -/]*[@-~]|[PX^_][^\x1b]*\x1b\\|[@-Z\\-_])/g;
/** Text that is nothing but this needs no second look. */
const PLAIN = /^[\t\n\x20-\x7e]*$/;
/**
 * Controls, formats (bidirectional, zero width, tags), separators, lone surrogates, and what is shown as nothing.
 * Arabic number signs are formats that are seen.
 */
const HIDDEN =
  /[[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]--[\t\n\u{600}-\u{605}\u{6dd}\u{70f}\u{890}\u{891}\u{8e2}\u{110bd}\u{110cd}]]/gv;
/** Letters of scripts that are written with joiners. */
const JOINED =
  "[[\\p{L}\\p{M}]--[\\p{Script=Latin}\\p{Script=Greek}\\p{Script=Cyrillic}\\p{Script=Inherited}]]";
const EMOJI = "[\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\u{fe0f}]";
/** Where an invisible character does what it is for: joins letters or emoji, picks how an emoji looks. */
const IN_PLACE = new RegExp(
  `(?:(?<=${JOINED})[\\u{200c}\\u{200d}](?=${JOINED})|(?<=${EMOJI})\\u{200d}(?=\\p{Extended_Pictographic})` +
    `|(?<=\\p{Extended_Pictographic})[\\u{fe0e}\\u{fe0f}]|(?<=[0-9#*])\\u{fe0f}(?=\\u{20e3}))`,
  "vy",
);

/**
 * Removes terminal escape sequences, applies carriage returns as a terminal would, and shows what is left of control,
 * invisible, bidirectional and lone surrogate characters as `\xNN`, `\uNNNN` or `\u{NNNNN}`. Newlines and tabs stay.
 */
export function cleanText(text: string): string {
  if (PLAIN.test(text)) return text;
  let clean = text.replace(ESCAPES, "");
  if (clean.includes("\r")) clean = clean.split("\n").map(overwrite).join("\n");
  return clean.replace(HIDDEN, (character, at: number) => {
    IN_PLACE.lastIndex = at;
    return IN_PLACE.test(clean) ? character : show(character);
  });
}

function overwrite(line: string): string {
  if (!line.includes("\r")) return line;
  return line.split("\r").findLast((segment) => segment.trim() !== "") ?? "";
}

function show(character: string): string {
  const code = character.codePointAt(0)!;
  if (code > 0xffff) return `\\u{${code.toString(16)}}`;
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u${code.toString(16).padStart(4, "0")}`;
}
