// Randomness that a failing seed brings back: mulberry32 (Tommy Ettinger, public domain).

export interface Seeded {
  /** an integer from 0 to `below` - 1 */
  integer(below: number): number;
  pick<T>(items: readonly T[]): T;
  bytes(length: number): Buffer;
}

export function seeded(seed: number): Seeded {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const integer = (below: number) => next() % below;
  return {
    integer,
    pick: (items) => items[integer(items.length)]!,
    bytes: (length) => Buffer.from(Array.from({ length }, () => integer(256))),
  };
}
