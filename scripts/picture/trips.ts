// The data of the picture: invented rides of a bicycle hire, the same ones each time.
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";

const STATIONS = ["Central Station", "Old Town", "University", "Stadium", "Harbour", "Botanic Garden"];
/** Share of the rides that start at each, on workdays and on weekends; and how much longer they last. */
const WORKDAY_STATIONS = [34, 22, 25, 6, 9, 4];
const WEEKEND_STATIONS = [18, 22, 8, 12, 22, 18];
const LONGER = [0.8, 0.9, 0.85, 1.1, 1.6, 1.9];
/** Share of a day's rides that start in each hour, before it is made to sum to one. */
const WORKDAY = [2, 1, 1, 1, 3, 9, 30, 74, 92, 48, 33, 34, 42, 40, 36, 42, 66, 98, 86, 52, 34, 24, 15, 7];
const WEEKEND = [9, 7, 5, 3, 2, 2, 5, 11, 22, 38, 54, 66, 74, 78, 80, 79, 74, 66, 56, 44, 34, 27, 21, 14];
const DAYS = 365;
const FIRST_DAY = Date.UTC(2025, 0, 1);
const CHUNK_ROWS = 20_000;

/** Writes `rows` rides of the year 2025 to a CSV at `path`: started, station, rider, minutes. */
export async function writeTrips(path: string, rows: number): Promise<void> {
  const random = generator(7);
  const pick = (weights: readonly number[]) => {
    let left = random() * weights.reduce((sum, weight) => sum + weight, 0);
    return weights.findIndex((weight) => {
      left -= weight;
      return left < 0;
    });
  };
  const file = createWriteStream(path);
  file.write("started,station,rider,minutes\n");
  for (let row = 0; row < rows; ) {
    let chunk = "";
    for (const end = Math.min(rows, row + CHUNK_ROWS); row < end; row++) {
      const day = FIRST_DAY + Math.floor((row / rows) * DAYS) * 86_400_000;
      const weekend = [0, 6].includes(new Date(day).getUTCDay());
      const second = (pick(weekend ? WEEKEND : WORKDAY) + random()) * 3_600;
      const started = new Date(day + second * 1_000).toISOString().slice(0, 19).replace("T", " ");
      const member = random() < (weekend ? 0.45 : 0.8);
      const station = pick(weekend ? WEEKEND_STATIONS : WORKDAY_STATIONS);
      const mean = (member ? 11 : 19) * LONGER[station]!;
      const minutes = 3 - mean * Math.log(1 - random() * 0.99);
      chunk += `${started},${STATIONS[station]},${member ? "member" : "casual"},${minutes.toFixed(1)}\n`;
    }
    if (!file.write(chunk)) await once(file, "drain");
  }
  await finished(file.end());
}

/** Mulberry32: numbers from 0 to 1, the same for the same seed. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
