// The benchmarks there are, in the order they run and stand in the table.
import type { Bench } from "./bench.ts";
import { besideLoad } from "./benches/beside-load.ts";
import { figures } from "./benches/figures.ts";
import { keep } from "./benches/keep.ts";
import { keepKinds } from "./benches/keep-kinds.ts";
import { load } from "./benches/load.ts";
import { memory } from "./benches/memory.ts";
import { onePlusOne } from "./benches/one-plus-one.ts";
import { output } from "./benches/output.ts";
import { peer } from "./benches/peer.ts";
import { start } from "./benches/start.ts";
import { stop } from "./benches/stop.ts";

export const suite: readonly Bench[] = [
  onePlusOne,
  peer,
  start,
  stop,
  load,
  besideLoad,
  output,
  figures,
  memory,
  keep,
  keepKinds,
];
