// The few statistics the benchmarks need: order statistics, and ratios of what was measured in the same round.

/** What many measurements of one thing come to. */
export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** The `share` quantile (0 to 1), interpolated between neighbours. Throws RangeError for no values. */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new RangeError("a quantile of no values");
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)]!;
  const above = sorted[Math.ceil(at)]!;
  return below + (above - below) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Throws RangeError for no values. */
export function spread(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * Candidate over reference, round by round: what slows the whole machine in a round slows both of that round.
 * Throws RangeError where the rounds do not pair up.
 */
export function ratios(candidate: readonly number[], reference: readonly number[]): Spread {
  if (candidate.length !== reference.length)
    throw new RangeError(`${candidate.length} rounds against ${reference.length}`);
  return spread(candidate.map((value, round) => value / reference[round]!));
}

/** The ratio swings so far between rounds that its median says little. */
export function isNoisy({ min, max }: Spread): boolean {
  return max > 2 * min;
}
