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

/** `bytes` in the largest binary unit that keeps it at 1 or more, with at most one decimal: "2 GiB". */
export function formatSize(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}
