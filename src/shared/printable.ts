// Text from outside, made fit for one line of a message: nothing in it can steer a terminal or reorder what is read.

// Controls, formats (bidi, zero width, tags), line and paragraph separators, lone surrogates, private use, and what is
// shown as nothing, but for the selectors of how an emoji looks.
const UNPRINTABLE =
  /[[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Default_Ignorable_Code_Point}]--[\u{fe0e}\u{fe0f}]]/gv;

/** `text` with unprintable characters as `\u{…}`, and its middle cut out beyond `longest` characters. */
export function printable(text: string, longest = 200): string {
  const shown = text.replace(UNPRINTABLE, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`);
  const chars = [...shown];
  if (chars.length <= longest) return shown;
  const half = Math.floor(longest / 2);
  return `${chars.slice(0, half).join("")}…${chars.slice(1 - half).join("")}`;
}

/** Has it characters that `printable` would have to show escaped? */
export function isPrintable(text: string): boolean {
  return text.search(UNPRINTABLE) < 0;
}
