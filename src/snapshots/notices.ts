// Sentences about the store for a session's next answer, each once.

export class Notices {
  readonly #of = new Map<string, string[]>();

  add(session: string, sentence: string): void {
    const sentences = this.#of.get(session) ?? [];
    if (!sentences.includes(sentence)) sentences.push(sentence);
    this.#of.set(session, sentences);
  }

  take(session: string): string[] {
    const sentences = this.#of.get(session) ?? [];
    this.#of.delete(session);
    return sentences;
  }
}
