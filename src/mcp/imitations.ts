// What only Cloche and the client may say: where output or data imitates it, a backslash breaks the imitation.
// Costs nothing where nothing imitates. The instructions tell the model what the backslash means.

/** A cell's status line, a note, or the line about what was left out, at the beginning of a line. */
const OWN_LINES = /^([^\S\n]*)(\[(?=cell\s+\d|cloche\s*:)|…(?=[^\n]{0,80}\bexec \{))/gim;
/** Elements in which clients and models hand over tool calls, tool results and reminders of the system. */
const ELEMENTS =
  /<(?=\/?(?:antml:\w|system[-_]reminder|function_(?:calls?|results?)|tool_(?:calls?|results?|use)|user-prompt-submit-hook|command-(?:name|message|args)|local-command-))/gi;

/** `text` in which no line can be taken for Cloche's own, and no element for the client's. */
export function withoutImitations(text: string): string {
  return text.replace(OWN_LINES, "$1$2\\").replace(ELEMENTS, "<\\");
}

/** A sentence of Cloche's own beside output, as no line of output can look. */
export function asNote(sentence: string): string {
  return `[cloche: ${withoutImitations(sentence)}]`;
}
