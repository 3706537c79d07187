// A CSV file of any size, the same at every run, and what a query over it must give: counted while it is written, without
// reading it back.
import { closeSync, openSync, writeSync } from "node:fs";

export interface RegionTotal {
  rows: number;
  units: number;
}

export interface SalesFile {
  bytes: number;
  rows: number;
  /** by region, in the alphabet's order */
  totals: Map<string, RegionTotal>;
}

const HEADER = "day,region,product,units,price,note\n";
const REGIONS = ["east", "north", "south", "west"];
const PRODUCTS = ["bell", "bench", "glass", "lamp", "spade", "tray"];
/** Only in the last line: whoever read less than the whole file does not know it. */
const LAST_REGION = "zenith";
const BLOCK_ROWS = 100_000;

/** Writes at least `bytes` to `path`. The file is one block of rows again and again, so that the disk is the limit. */
export function writeSales(path: string, bytes: number): SalesFile {
  const { block, totals } = makeBlock();
  const last = Buffer.from(`2025-12-31,${LAST_REGION},bell,7,1.00,the last line\n`);
  const repeats = Math.ceil((bytes - HEADER.length - last.length) / block.length);
  const file = openSync(path, "wx");
  try {
    let written = write(file, Buffer.from(HEADER));
    for (let count = 0; count < repeats; count++) written += write(file, block);
    written += write(file, last);
    const all = new Map([...totals].map(([region, total]) => [region, times(total, repeats)]));
    all.set(LAST_REGION, { rows: 1, units: 7 });
    return { bytes: written, rows: BLOCK_ROWS * repeats + 1, totals: all };
  } finally {
    closeSync(file);
  }
}

function makeBlock(): { block: Buffer; totals: Map<string, RegionTotal> } {
  const totals = new Map(REGIONS.map((region) => [region, { rows: 0, units: 0 }]));
  const lines: string[] = [];
  const random = randomNumbers(20_251_121);
  for (let row = 0; row < BLOCK_ROWS; row++) {
    const region = REGIONS[random() % REGIONS.length]!;
    const units = random() % 1_000;
    const price = (random() % 1_000_000) / 100;
    const day = new Date(Date.UTC(2025, 0, 1 + (random() % 365))).toISOString().slice(0, 10);
    lines.push(
      `${day},${region},${PRODUCTS[random() % PRODUCTS.length]},${units},${price.toFixed(2)},order ${random()}\n`,
    );
    const total = totals.get(region)!;
    total.rows += 1;
    total.units += units;
  }
  return { block: Buffer.from(lines.join("")), totals };
}

function times({ rows, units }: RegionTotal, count: number): RegionTotal {
  return { rows: rows * count, units: units * count };
}

/** mulberry32: whole numbers below 2^32, the same for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

function write(file: number, data: Buffer): number {
  for (let done = 0; done < data.length; ) done += writeSync(file, data, done);
  return data.length;
}
