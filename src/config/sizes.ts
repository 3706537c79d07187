// Sizes as people write them: "8GiB", "512MB", 4096.

const UNITS: Record<string, number> = {
  "": 1,
  b: 1,
  k: 1024,
  kb: 1000,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1000 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1000 ** 3,
  gib: 1024 ** 3,
  t: 1024 ** 4,
  tb: 1000 ** 4,
  tib: 1024 ** 4,
};

/** A number and a unit, in either case. */
export const SIZE_PATTERN = /^\s*\d+(\.\d+)?\s*([KMGTkmgt]([Ii]?[Bb])?|[Bb])?\s*$/;

/** `bytes`, or undefined when it is not a size. */
export function parseSize(size: string): number | undefined {
  if (!SIZE_PATTERN.test(size)) return undefined;
  const [, number, unit] = /^([\d.]+)\s*([a-z]*)$/.exec(size.trim().toLowerCase()) ?? [];
  const factor = UNITS[unit ?? ""];
  return factor === undefined ? undefined : Math.floor(Number(number) * factor);
}

const BINARY = ["bytes", "KiB", "MiB", "GiB", "TiB"];
const DECIMAL = ["bytes", "KB", "MB", "GB", "TB"];
/** Decimals with which a size counts as written in a unit: people write 1.25GiB, not 1.164GiB. */
const WRITTEN_DECIMALS = 2;

/** `bytes` as somebody would have written them ("20 GB", "1.25 GiB"); where in no unit, in the largest binary one: "3.2 MiB". */
export function formatSize(bytes: number): string {
  for (const [base, units] of [
    [1024, BINARY],
    [1000, DECIMAL],
  ] as const) {
    const [value, factor, unit] = scale(bytes, base, units);
    const written = Number(value.toFixed(WRITTEN_DECIMALS));
    if (Math.floor(written * factor) === bytes) return `${written} ${unit}`;
  }
  const [value, , unit] = scale(bytes, 1024, BINARY);
  return `${Number(value.toFixed(1))} ${unit}`;
}

/** The value in the largest unit that keeps it at 1 or more, the bytes of that unit, its name. */
function scale(bytes: number, base: number, units: readonly string[]): [number, number, string] {
  let power = 0;
  while (bytes >= base ** (power + 1) && power < units.length - 1) power += 1;
  return [bytes / base ** power, base ** power, units[power]!];
}
